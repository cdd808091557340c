"""The driver as a process, against a real API server and simulated GPUs, with kubelet's side played over its sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Node
from tests.kubelet import Kubelet

BALANCED = ["gpu-{}-mig-1g5gb-19-0", "gpu-{}-mig-1g5gb-19-1", "gpu-{}-mig-2g10gb-14-2", "gpu-{}-mig-3g20gb-9-4"]


def test_a_layout_is_applied_published_and_a_slice_prepared(make_node: Callable[..., Node]) -> None:
    node = make_node(count=8)
    driver = node.start_driver(MIG_CONFIG="all-balanced")

    published = node.cluster.slices()
    assert sorted(node.cluster.device_names()) == sorted(name.format(gpu) for gpu in range(8) for name in BALANCED)
    assert {each["spec"]["pool"]["generation"] for each in published} == {1}
    owner = published[0]["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Node", node.cluster.node_uid, True)

    claim = node.cluster.claim({"slice": "gpu-3-mig-2g10gb-14-2"})
    answer = node.kubelet.prepare_one(claim)
    uid = claim["metadata"]["uid"]
    (device,) = answer.devices
    assert (list(device.request_names), device.pool_name, device.device_name) == (
        ["slice"],
        "node-a",
        "gpu-3-mig-2g10gb-14-2",
    )
    assert list(device.cdi_device_ids) == [f"k8s.gpu.nvidia.com/claim={uid}-gpu-3-mig-2g10gb-14-2"]

    spec = json.loads(node.spec(claim).read_text())
    assert (spec["kind"], spec["devices"][0]["name"]) == ("k8s.gpu.nvidia.com/claim", f"{uid}-gpu-3-mig-2g10gb-14-2")
    # GPU instance 4 is the 2g at unit 2: minors are 3 + 3*135 + 4*9 for it and one more for its compute instance.
    nodes = {
        each["path"]: (each["major"], each["minor"]) for each in spec["devices"][0]["containerEdits"]["deviceNodes"]
    }
    assert nodes == {
        "/dev/nvidia3": (195, 3),
        "/dev/nvidia-caps/nvidia-cap444": (511, 444),
        "/dev/nvidia-caps/nvidia-cap445": (511, 445),
    }

    node.kubelet.unprepare_one(claim)
    assert not node.spec(claim).exists()
    assert json.loads(node.checkpoint.read_text())["preparedClaims"] == {}
    assert driver.stop() == 0
    assert node.kubelet.sockets() == []
    assert len(node.cluster.device_names()) == 32, "slices stay when the driver stops"


@pytest.mark.parametrize("version", ["v1.DRAPlugin", "v1beta1.DRAPlugin"])
def test_both_versions_of_the_protocol_work(make_node: Callable[..., Node], version: str, folder: Path) -> None:
    node = make_node(mig=False, kubelet=Kubelet(folder, (version,)))
    node.start_driver()
    claim = node.cluster.claim({"gpu": "gpu-0"})
    assert node.kubelet.prepare_one(claim).devices[0].device_name == "gpu-0"
    assert node.kubelet.prepare_one(claim).devices[0].device_name == "gpu-0"
    node.kubelet.unprepare_one(claim)
    node.kubelet.unprepare_one(claim)
