"""How long a stopped sandbox cluster takes to be ready, and what it costs to bring the whole demo up once all is built."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SANDBOX = Path(".venv/bin/sandbox")


def _seconds(*command: str | Path, environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


@contextmanager
def _down_afterwards(environment: dict[str, str]) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run([SANDBOX, "down"], env=environment, check=True, stdout=subprocess.DEVNULL)


def cluster_ready(environment: dict[str, str], port: int, rounds: int) -> tuple[float, ...]:
    """Seconds from no sandbox at all to a Ready node, system objects made, once per round."""
    samples = []
    for _ in range(rounds):
        with _down_afterwards(environment):
            samples.append(_seconds(SANDBOX, "up", "--api-port", str(port), environment=environment))
    return tuple(samples)


def make_up_warm(environment: dict[str, str], port: int, rounds: int) -> tuple[float, ...]:
    """Seconds of `make up` from no sandbox at all, with programs and images built, once per round."""
    variables = (f"STATE={environment['GPU_SANDBOX_STATE_DIR']}", f"UP_FLAGS=--api-port {port}")
    samples = []
    for _ in range(rounds):
        with _down_afterwards(environment):
            samples.append(_seconds("make", "--silent", "up", *variables, environment=environment))
    return tuple(samples)
