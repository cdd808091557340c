"""Restarts of the node's parts, in a sandbox of their own: what goes on running and what a reboot forgets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_sandbox.lifecycle import Options
from tests.e2e.conftest import BUSYBOX_IMAGE
from tests.sandboxes import RunningSandbox, free_port, running


@pytest.fixture(scope="module")
def disturbed(busybox_archive: Path) -> Iterator[RunningSandbox]:
    with running("n", Options(api_port=free_port())) as sandbox:
        sandbox.import_image(busybox_archive)
        sandbox.kubectl("run", "lasting", f"--image={BUSYBOX_IMAGE}", "--", "sleep", "3600")
        sandbox.kubectl("wait", "--for=condition=Ready", "pod/lasting", "--timeout=30s")
        yield sandbox


def _container(sandbox: RunningSandbox) -> dict[str, Any]:
    pod = json.loads(sandbox.kubectl("get", "pod", "lasting", "-o", "json").stdout)
    status: dict[str, Any] = pod["status"]["containerStatuses"][0]
    return status


def _works(sandbox: RunningSandbox) -> bool:
    return sandbox.kubectl("exec", "lasting", "--", "sh", "-c", ":", check=False).returncode == 0


@pytest.mark.parametrize("component", ["kubelet", "containerd", "kube-proxy"])
def test_containers_outlive_a_restart_of(disturbed: RunningSandbox, component: str) -> None:
    before = _container(disturbed)["containerID"]
    disturbed.sandbox("restart", component)
    deadline = time.monotonic() + 20
    while not _works(disturbed):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert _container(disturbed)["containerID"] == before


def test_a_reboot_ends_containers_and_forgets_what_was_volatile(disturbed: RunningSandbox) -> None:
    def boot_id() -> str:
        return disturbed.kubectl("get", "node", "gpu-sandbox-0", "-o", "jsonpath={.status.nodeInfo.bootID}").stdout

    before, container = boot_id(), _container(disturbed)["containerID"]
    stale = disturbed.paths.cdi / "stale.json"
    stale.write_text("{}")
    disturbed.sandbox("enter", "touch", "/run/volatile")
    disturbed.sandbox("restart", "node")
    assert not stale.exists()
    assert disturbed.sandbox("enter", "ls", "/run/volatile", check=False).returncode != 0
    assert boot_id() != before
    deadline = time.monotonic() + 30
    while not (_works(disturbed) and _container(disturbed)["containerID"] != container):
        assert time.monotonic() < deadline, _container(disturbed)
        time.sleep(0.2)
    report = json.loads(disturbed.sandbox("status", "--json").stdout)
    restarts = {component["name"]: component["restarts"] for component in report["components"]}
    assert restarts["kube-apiserver"] == 0
    assert restarts["containerd"] >= 1
    assert report["state"] == "ready"


def test_an_unknown_component_is_refused_with_the_known_ones(disturbed: RunningSandbox) -> None:
    result = disturbed.sandbox("restart", "kublet", check=False)
    assert result.returncode == 1
    assert "there are: node, etcd" in result.stderr
