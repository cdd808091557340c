"""kill -9 at every boundary, then a restart: the node converges to what no crash would have given."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Node
from tests.local_node import ClaimList, LocalNode, claim
from tests.simulated_gpus import SimulatedGpus

DRIVER = Path(__file__).resolve().parents[1]
FIRST, SECOND = "gpu-0-mig-1g5gb-19-0", "gpu-0-mig-2g10gb-14-2"


def crash(folder: Path, gpus: SimulatedGpus, effect: int, operation: str, *claims: str) -> bool:
    """Runs the operation in another process; True if it died at the effect, False if it came through."""
    command = [
        sys.executable,
        "-m",
        "tests.crashing_node",
        str(folder),
        str(gpus.root),
        str(effect),
        operation,
        *claims,
    ]
    ended = subprocess.run(command, cwd=DRIVER, capture_output=True, text=True, check=False)
    assert ended.returncode in {0, -signal.SIGKILL}, ended.stderr
    return ended.returncode != 0


@pytest.mark.parametrize("operation", ["prepare", "unprepare"])
def test_a_crash_at_any_effect_is_recovered_from(
    folder: Path, install_gpus: Callable[..., SimulatedGpus], operation: str
) -> None:
    gpus = install_gpus()
    LocalNode(folder / "setup", gpus, layout="all-balanced").apply_layout()
    stays, hit = claim(("r", FIRST), uid="stays"), claim(("r", SECOND), uid="hit")
    known = ClaimList({(each.namespace, each.name): each for each in (stays, hit)})
    effect = 0
    while True:
        effect += 1
        work = folder / f"node-{effect}"
        before = LocalNode(work, gpus, known)
        before.prepare(stays)
        if operation == "unprepare":
            before.prepare(hit)

        died = crash(work, gpus, effect, operation, f"hit:{SECOND}")

        node = LocalNode(work, gpus, known)
        assert node.prepared()["stays"] == {FIRST}, "no crash touches another claim"
        assert node.specs() <= set(node.prepared()), "no spec without a record that accounts for it"
        if died:  # kubelet asks again
            node.prepare(hit) if operation == "prepare" else node.unprepare(hit)
        expected = {"stays": {FIRST}, "hit": {SECOND}} if operation == "prepare" else {"stays": {FIRST}}
        assert node.prepared() == expected
        assert node.specs() == set(expected)
        node.unprepare(hit)
        assert node.prepare(claim(("r", SECOND))) == [SECOND], "the device can be had again"
        assert list(work.rglob("*.tmp")) == []
        if not died:
            break
    # prepare: intent, spec and result, each a file made and renamed; unprepare: the spec removed, the record written
    assert effect > (6 if operation == "prepare" else 3)


def test_a_driver_killed_while_it_partitions_finishes_after_a_restart(make_node: Callable[..., Node]) -> None:
    node = make_node(count=4)
    node.gpus.admin("latency", 0, 15_000)  # a partition change takes 15 ms: time to be killed in the midst of one
    wanted = ["1g.5gb@0", "1g.5gb@1", "2g.10gb@2", "3g.20gb@4"]
    for _ in range(6):
        driver = node.start_driver(ready=False, MIG_CONFIG="all-balanced")
        driver.wait_for("creating|ready")
        time.sleep(random.uniform(0, 0.15))
        driver.kill()
    node.start_driver(MIG_CONFIG="all-balanced")
    assert [node.gpus.partitions(gpu) for gpu in range(4)] == [wanted] * 4
    assert len(node.cluster.device_names()) == 16


def test_a_driver_killed_with_claims_keeps_them(make_node: Callable[..., Node]) -> None:
    node = make_node(count=1)
    driver = node.start_driver(MIG_CONFIG="all-balanced")
    held = node.cluster.claim({"r": FIRST})
    node.kubelet.prepare_one(held)
    driver.kill()
    assert node.kubelet.sockets() == ["gpu.nvidia.com-reg.sock"], "a killed driver leaves its socket behind"
    node.start_driver(MIG_CONFIG="all-1g.5gb")
    rival = node.cluster.claim({"r": FIRST})
    assert "already allocated to different claim" in node.kubelet.prepare_error(rival)
    assert node.kubelet.prepare_one(held).devices[0].device_name == FIRST
    assert node.gpus.partitions(0)[0] == "1g.5gb@0"
    assert len(node.gpus.partitions(0)) == 4, "the new layout waits for the claim"
