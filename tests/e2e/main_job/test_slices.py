"""The main job: eight GPUs cut as declared, three workloads each on the slice they claimed, and on nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from tests.e2e.main_job.conftest import DRIVER_NAMESPACE, Demo, claiming_pod

PROFILES = {"large": "3g.20gb", "medium": "2g.10gb", "small": "1g.5gb"}


def text(device: Any, attribute: str) -> str:
    return str(device["attributes"][attribute]["string"])


def held_device(demo: Demo, workload: str) -> Any:
    return demo.devices()[demo.held_devices()[demo.pod_of(workload)]]


def test_all_balanced_on_eight_gpus_publishes_32_slices(demo: Demo) -> None:
    devices = demo.devices().values()

    assert Counter(text(device, "profile") for device in devices) == {"1g.5gb": 16, "2g.10gb": 8, "3g.20gb": 8}
    assert {text(device, "type") for device in devices} == {"mig"}
    assert len({text(device, "uuid") for device in devices}) == 32
    assert len({text(device, "parentUUID") for device in devices}) == 8


def test_published_slices_are_what_the_gpus_hold(demo: Demo) -> None:
    listed = demo.cluster.sandbox("gpus", "smi", "--", "-L").stdout

    assert set(re.findall(r"UUID: (MIG-[0-9a-f-]+)", listed)) == {
        text(device, "uuid") for device in demo.devices().values()
    }


@pytest.mark.parametrize("workload", PROFILES)
def test_a_workload_runs_on_the_profile_it_claimed(demo: Demo, workload: str) -> None:
    (pod,) = [pod for pod in demo.pods() if pod["metadata"]["name"] == demo.pod_of(workload)]

    assert pod["status"]["phase"] == "Running"
    assert text(held_device(demo, workload), "profile") == PROFILES[workload]


def test_no_two_workloads_hold_the_same_device(demo: Demo) -> None:
    held = list(demo.held_devices().values())

    assert len(held) == len(set(held)) == 3


@pytest.mark.parametrize("workload", PROFILES)
def test_a_container_sees_its_own_slice_and_nothing_else(demo: Demo, workload: str) -> None:
    device = held_device(demo, workload)
    listed = demo.execute(workload, "nvidia-smi", "-L")
    nodes = demo.execute(workload, "sh", "-c", "ls /dev | grep -E '^nvidia[0-9]'; ls /dev/nvidia-caps").split()

    assert re.findall(r"UUID: (MIG-[0-9a-f-]+)", listed) == [text(device, "uuid")]
    assert re.findall(r"UUID: (GPU-[0-9a-f-]+)", listed) == [text(device, "parentUUID")]
    assert PROFILES[workload] in listed
    parent = demo.held_devices()[demo.pod_of(workload)].split("-mig-")[0].removeprefix("gpu-")
    assert nodes[0] == f"nvidia{parent}"
    assert len(nodes) == 3, f"the GPU, its GPU instance and its compute instance, but {nodes}"


def test_a_root_container_is_kept_from_other_gpus_by_the_kernel(demo: Demo) -> None:
    """It may make another GPU's node, but the device cgroup refuses to open what CDI did not grant."""
    probe = (
        "own=$(ls /dev | grep -E '^nvidia[0-9]+$' | tr -d a-z); other=$(( (own + 1) % 8 ));"
        "mknod /tmp/other c 195 $other;"
        "echo own: $(head -c1 /dev/nvidia$own 2>&1); echo other: $(head -c1 /tmp/other 2>&1)"
    )
    container = {"name": "c", "image": demo.workload_image(), "command": ["sh", "-c", probe]}
    pod = claiming_pod("root-probe", "mig-1g.5gb", {**container, "securityContext": {"runAsUser": 0}})
    demo.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    try:
        demo.cluster.kubectl("wait", "pod/root-probe", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
        lines = demo.cluster.kubectl("logs", "root-probe").stdout.splitlines()
    finally:
        demo.cluster.kubectl("delete", "pod/root-probe", "resourceclaim/root-probe", "--now")

    assert "No such device or address" in lines[0], "allowed by the cgroup; no kernel driver stands behind the node"
    assert "Operation not permitted" in lines[1]


@pytest.mark.parametrize("workload", PROFILES)
def test_the_log_shows_the_slice_and_a_training_that_learnt(demo: Demo, workload: str) -> None:
    log = demo.cluster.kubectl("logs", "-n", "demo", demo.pod_of(workload)).stdout

    assert text(held_device(demo, workload), "uuid") in log
    accuracies = [float(found) for found in re.findall(r"accuracy[ =:]+([0-9.]+)", log)]
    assert accuracies, log
    assert accuracies[-1] > 0.5, "ten classes: a guess would be right one time in ten"
    assert "training done" in log


def test_a_claim_for_a_profile_that_is_not_there_stays_pending_with_the_reason(demo: Demo) -> None:
    manifest = claiming_pod("impossible", "mig-7g.40gb", {"name": "c", "image": demo.workload_image()})
    demo.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    try:
        demo.cluster.kubectl("wait", "pod/impossible", "--for=condition=PodScheduled=False", "--timeout=20s")
        condition = demo.get("pod", "impossible")["status"]["conditions"][0]
        assert condition["reason"] == "Unschedulable"
        assert "cannot allocate all claims" in condition["message"]
    finally:
        demo.cluster.kubectl("delete", "pod/impossible", "resourceclaim/impossible", "--now")


def test_the_driver_may_do_what_it_needs_and_no_more(demo: Demo) -> None:
    (account,) = {pod["spec"]["serviceAccountName"] for pod in demo.pods(DRIVER_NAMESPACE)}
    listed = demo.cluster.kubectl(
        "auth", "can-i", "--list", f"--as=system:serviceaccount:{DRIVER_NAMESPACE}:{account}"
    ).stdout

    assert "resourceslices.resource.k8s.io" in listed
    for forbidden in (
        ("get", "secrets"),
        ("create", "pods"),
        ("delete", "resourceclaims"),
        ("update", "nodes"),
        ("*", "*"),
    ):
        answer = demo.cluster.kubectl(
            "auth", "can-i", *forbidden, f"--as=system:serviceaccount:{DRIVER_NAMESPACE}:{account}", check=False
        )
        assert answer.stdout.strip() == "no", forbidden
