"""What runs keeps its slice, whatever is restarted under it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.e2e.main_job.conftest import DRIVER_NAMESPACE, Demo, claiming_pod, eventually


def identity(demo: Demo) -> dict[str, Any]:
    """What must not change: pods, the restarts of their containers, their devices."""
    return {
        "pods": {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in demo.pods()},
        "held": demo.held_devices(),
    }


def driver_pod(demo: Demo) -> str:
    (pod,) = demo.pods(DRIVER_NAMESPACE)
    ready = {condition["type"]: condition["status"] for condition in pod["status"].get("conditions", [])}.get("Ready")
    assert ready == "True"
    return str(pod["metadata"]["name"])


def slice_uid(demo: Demo, workload: str) -> str:
    (uuid,) = re.findall(r"UUID: (MIG-[0-9a-f-]+)", demo.execute(workload, "nvidia-smi", "-L"))
    return str(uuid)


def all_restarted(demo: Demo) -> bool:
    """Whether every container of the demo has ended once and is ready again; the API is slow to notice a reboot."""
    statuses = [status for pod in demo.pods() for status in pod["status"]["containerStatuses"]]
    return all(status["ready"] and status["restartCount"] > 0 for status in statuses)


def new_pod_gets_a_slice(demo: Demo) -> None:
    """The whole path still works: a replaced pod gets prepared again."""
    name = demo.pod_of("small")
    demo.cluster.kubectl("delete", "pod", "-n", "demo", name, "--now")
    demo.cluster.kubectl("rollout", "status", "-n", "demo", "deployment/fashion-mnist-small", "--timeout=90s")
    assert demo.pod_of("small") != name
    assert slice_uid(demo, "small")


def test_driver_restart_keeps_claims_and_slices(demo: Demo) -> None:
    before, devices, old = identity(demo), demo.devices(), driver_pod(demo)

    demo.cluster.kubectl("delete", "pod", "-n", DRIVER_NAMESPACE, old, "--now")
    eventually(lambda: driver_pod(demo) != old or None, 60, "a new driver pod is ready")

    assert identity(demo) == before
    assert demo.devices() == devices, "neither names nor UUIDs of slices in use or free may change"
    new_pod_gets_a_slice(demo)


@pytest.mark.parametrize("component", ["kubelet", "containerd"])
def test_component_restart_keeps_claims(demo: Demo, component: str) -> None:
    before, devices = identity(demo), demo.devices()

    demo.cluster.sandbox("restart", component)
    demo.cluster.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=60s")
    eventually(lambda: (demo.devices() == devices) or None, 60, "the slices are published again")

    assert identity(demo) == before
    new_pod_gets_a_slice(demo)


def test_node_restart_brings_every_workload_back_on_its_claim(demo: Demo) -> None:
    before, devices = demo.held_devices(), set(demo.devices())

    demo.cluster.sandbox("restart", "node")
    eventually(lambda: all_restarted(demo) or None, 150, "every workload runs again")
    eventually(lambda: (set(demo.devices()) == devices) or None, 60, "the same devices are published")

    assert demo.held_devices() == before, "allocations survive, since pods and claims do"
    published = {name: device["attributes"]["uuid"]["string"] for name, device in demo.devices().items()}
    for workload in ("large", "medium", "small"):
        assert slice_uid(demo, workload) == published[before[demo.pod_of(workload)]], (
            "a partition made anew has a new UUID"
        )


def test_a_deleted_slice_list_is_published_again(demo: Demo) -> None:
    devices = demo.devices()

    demo.cluster.kubectl("delete", "resourceslices", "--all")
    eventually(lambda: (demo.devices() == devices) or None, 60, "the slices are back")


def test_another_service_account_cannot_publish_for_the_node(demo: Demo) -> None:
    """The driver's rights end at its own node: the same account, not bound to this node, is refused."""
    (pod,) = demo.pods(DRIVER_NAMESPACE)
    (published,) = demo.get("resourceslices")["items"]
    forged = {
        "apiVersion": published["apiVersion"],
        "kind": published["kind"],
        "metadata": {"name": "forged"},
        "spec": {
            **published["spec"],
            "nodeName": "another-node",
            "pool": {**published["spec"]["pool"], "name": "another-node"},
        },
    }
    account = f"system:serviceaccount:{DRIVER_NAMESPACE}:{pod['spec']['serviceAccountName']}"

    answer = demo.cluster.kubectl("create", f"--as={account}", "-f", "-", stdin=json.dumps(forged), check=False)

    assert answer.returncode != 0
    assert "ValidatingAdmissionPolicy" in answer.stderr


def test_a_pod_deleted_by_force_hands_its_slice_to_the_next(demo: Demo) -> None:
    """The API gives the device away before kubelet has released it; the driver waits instead of refusing for a minute."""
    container = {"name": "c", "image": demo.workload_image(), "command": ["sleep", "600"]}
    devices = []
    try:
        for name in ("first", "second"):
            pod = claiming_pod(name, "mig-3g.20gb", container)
            demo.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
            demo.cluster.kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Running", "--timeout=40s")
            claim = demo.get("resourceclaim", name)
            devices += [result["device"] for result in claim["status"]["allocation"]["devices"]["results"]]
            demo.cluster.kubectl("delete", f"pod/{name}", "--force", "--grace-period=0")
            demo.cluster.kubectl("delete", f"resourceclaim/{name}")
    finally:
        for name in ("first", "second"):
            demo.cluster.kubectl("delete", f"pod/{name}", f"resourceclaim/{name}", "--now", "--ignore-not-found")

    assert devices[0] == devices[1], "first fit gives the second pod the slice that the first still held"
