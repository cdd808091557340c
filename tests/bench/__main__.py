"""`python -m tests.bench`: measure what the README and docs/benchmarks.md quote, on this machine, and print one table.

pods and driver need a running sandbox with its stack (`make up`); cluster and make-up start and stop one of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lightkube import Client, KubeConfig

from gpu_sandbox.settings import STATE_DIR_ENV, StatePaths, read_settings, state_dir_from_environment
from tests.bench import cluster, driver, pods
from tests.bench.samples import noise, summarise

OWN_STATE = "/var/lib/gpusb-bench"
OWN_PORT = 17443
PARTS = ("pods", "driver", "cluster", "make-up")


def _environment(state: str) -> dict[str, str]:
    return os.environ | {STATE_DIR_ENV: state}


def _pods(pairs: int) -> Iterator[str]:
    paths = StatePaths(state_dir_from_environment())
    client = Client(config=KubeConfig.from_file(str(paths.kubeconfig)), field_manager="bench")
    image = json.loads((paths.root / "images.json").read_text())["workload"]
    measured = pods.measure(client, image, "mig-1g.5gb", pairs)
    yield f"pod Running, without a claim       {summarise(measured.without).row('ms')}"
    yield f"pod Running, with a claim          {summarise(measured.with_claim).row('ms')}"
    yield f"later by, pair by pair             {measured.difference().row('ms')}"


def _driver() -> Iterator[str]:
    paths = StatePaths(state_dir_from_environment())
    settings = read_settings(paths)
    assert settings is not None, "the sandbox is up"
    environment = os.environ | {"KUBECONFIG": str(paths.kubeconfig)}
    cost = driver.measure(paths.root, (str(settings.bin_dir / "kubectl"),), environment)
    yield f"driver, idle                       {cost.resident_mib:.0f} MiB resident"
    yield f"driver, process start to published {cost.startup_ms:.0f} ms"


def _cluster(rounds: int) -> Iterator[str]:
    samples = cluster.cluster_ready(_environment(OWN_STATE), OWN_PORT, rounds)
    yield f"cluster Ready from nothing         {summarise(samples).row('s', 1)}"


def _make_up(rounds: int) -> Iterator[str]:
    samples = cluster.make_up_warm(_environment(OWN_STATE), OWN_PORT, rounds)
    yield f"make up, all built before          {summarise(samples).row('s', 1)}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"which of {', '.join(PARTS)}; all by default")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of pods (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="starts of the cluster and of make up (default 3)")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not Path(".venv").is_dir():
        parser.error("run it from the repository's root, after `make setup`")
    runs: dict[str, Callable[[], Iterator[str]]] = {
        "pods": lambda: _pods(chosen.pairs),
        "driver": _driver,
        "cluster": lambda: _cluster(chosen.rounds),
        "make-up": lambda: _make_up(chosen.rounds),
    }
    print(f"machine: {os.cpu_count()} cores; fixed arithmetic before: {noise().row('ms', 1)}")
    for part in PARTS:
        if part in (chosen.parts or PARTS):
            for line in runs[part]():
                print(line, flush=True)
    print(f"fixed arithmetic after: {noise().row('ms', 1)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
