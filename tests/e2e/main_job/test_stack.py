"""The stack itself: applied twice it changes nothing, interrupted it recovers, wrong input is refused before anything happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.e2e.main_job.conftest import Demo

WRONG_CONFIG = [
    pytest.param({"mig_cofnig": "all-balanced"}, ["mig_cofnig", "mig_config"], id="misspelt key"),
    pytest.param({"mig_config": "all-balancd"}, ["all-balancd", "all-balanced"], id="misspelt layout"),
    pytest.param({"claims.large": "3g.21gb"}, ["3g.21gb", "3g.20gb"], id="unknown profile"),
    pytest.param({"shape": "sandbx"}, ["sandbx", "sandbox"], id="misspelt shape"),
]


def test_up_again_changes_nothing(demo: Demo) -> None:
    printed = demo.stack("up")

    assert "unchanged" in printed
    for change in ("created", "updated", "deleted", "replaced"):
        assert f" {change}" not in printed.split("Resources:")[1]


@pytest.mark.parametrize(("config", "says"), WRONG_CONFIG)
def test_wrong_config_is_refused_with_what_was_meant(demo: Demo, config: dict[str, str], says: list[str]) -> None:
    before = demo.held_devices()
    arguments = [argument for key, value in config.items() for argument in ("--config", f"eks-gpu-dra:{key}={value}")]

    answer = demo.cluster.sandbox("stack", "preview", "--", "--config-path", *arguments, check=False)

    assert answer.returncode != 0
    for words in says:
        assert words in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    assert demo.held_devices() == before


def test_an_update_killed_half_way_is_repaired_by_the_next(demo: Demo) -> None:
    demo.cluster.sandbox("stack", "destroy")
    command = [sys.executable, "-m", "gpu_sandbox.cli", "stack", "up"]
    with subprocess.Popen(
        command,
        env=demo.cluster.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as update:
        time.sleep(5)
        os.killpg(update.pid, signal.SIGKILL)

    demo.stack("up")

    for workload in ("large", "medium", "small"):
        demo.cluster.kubectl("rollout", "status", "-n", "demo", f"deployment/fashion-mnist-{workload}", "--timeout=90s")
    assert "unchanged" in demo.stack("up")


def test_destroy_leaves_nothing_of_the_stack(demo: Demo) -> None:
    demo.cluster.sandbox("stack", "destroy")
    try:
        assert demo.get("deviceclasses")["items"] == []
        names = {each["metadata"]["name"] for each in demo.get("namespaces")["items"]}
        assert not names & {"demo", "gpu-dra-driver"}
        assert "gpu-dra" not in demo.cluster.kubectl("get", "clusterrole,clusterrolebinding", "-o", "name").stdout
    finally:
        demo.stack("up")
