"""ResourceSlices in a real API server: what is written, when it is not, and what happens when others change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gpu_catalog.devices import GpuFacts, describe_gpu
from gpu_dra_driver.inventory import Device, Inventory
from gpu_dra_driver.kube import Api, KubeError
from gpu_dra_driver.publish import Publisher
from tests.cluster import Cluster
from tests.conftest import Node, eventually


def versions(cluster: Cluster) -> list[tuple[str, str, int]]:
    return [
        (each["metadata"]["name"], each["metadata"]["resourceVersion"], each["spec"]["pool"]["generation"])
        for each in cluster.slices()
    ]


def test_whole_gpus_are_published_with_the_attributes_users_select_by(make_node: Callable[..., Node]) -> None:
    node = make_node(count=2, mig=False)
    node.start_driver()
    (published,) = node.cluster.slices()
    assert published["spec"]["pool"] == {"name": "node-a", "generation": 1, "resourceSliceCount": 1}
    assert published["spec"]["nodeName"] == "node-a"
    device = published["spec"]["devices"][1]
    assert device["name"] == "gpu-1"
    assert set(device["attributes"]) == {
        "addressingMode", "architecture", "brand", "cudaComputeCapability", "cudaDriverVersion", "driverVersion", "productName", "type", "uuid",
        "resource.kubernetes.io/numaNode", "resource.kubernetes.io/pciBusID", "resource.kubernetes.io/pcieRoot",
    }  # fmt: skip
    assert device["attributes"]["driverVersion"] == {"version": "580.126.20"}
    assert device["attributes"]["uuid"]["string"] == "GPU-" + node.gpus.gpus()[1]["uuid"].removeprefix("GPU-")
    assert device["capacity"] == {"memory": {"value": "40Gi"}}


def test_a_restart_writes_nothing(make_node: Callable[..., Node]) -> None:
    node = make_node(count=8)
    node.start_driver(MIG_CONFIG="all-1g.5gb").stop()
    before = versions(node.cluster)
    assert len(node.cluster.device_names()) == 56
    node.start_driver(MIG_CONFIG="all-1g.5gb")
    assert versions(node.cluster) == before


def test_deleted_slices_come_back(make_node: Callable[..., Node]) -> None:
    node = make_node(count=1, mig=False)
    node.start_driver()
    node.cluster.delete_slices()
    assert eventually(lambda: node.cluster.device_names() == ["gpu-0"])


def test_a_slice_that_somebody_edits_is_put_right(make_node: Callable[..., Node]) -> None:
    node = make_node(count=2, mig=False)
    node.start_driver()
    (published,) = node.cluster.slices()
    published["spec"]["devices"].pop()
    path = f"/apis/resource.k8s.io/v1/resourceslices/{published['metadata']['name']}"
    assert node.cluster.admin.put(path, json=published).is_success
    assert eventually(lambda: node.cluster.device_names() == ["gpu-0", "gpu-1"])
    assert versions(node.cluster)[0][2] == 2, "a new generation, so that consumers drop what they saw"


def test_one_lost_gpu_leaves_the_others_published(make_node: Callable[..., Node]) -> None:
    node = make_node(count=3, mig=False)
    node.gpus.admin("lose", 1)
    driver = node.start_driver()
    assert node.cluster.device_names() == ["gpu-0", "gpu-2"]
    driver.wait_for("GPU 1 offers no device: .*GPU is lost")


@pytest.fixture
def api(cluster: Cluster) -> Iterator[Api]:
    """The API with the driver's own rights."""
    opened = Api(cluster.driver_kubeconfig(), cluster.node_name)
    yield opened
    opened.close()


class Counter:
    def __init__(self) -> None:
        self.failures = 0

    def publish_failed(self) -> None:
        self.failures += 1


def many_devices(count: int) -> Inventory:
    facts = GpuFacts(
        minor=0, uuid="GPU-0", product_name="NVIDIA A100-SXM4-40GB", brand="Nvidia", architecture="Ampere", cuda_compute_capability="8.0",
        driver_version="580.126.20", cuda_driver_version="13.0", pci_bus_id="0000:10:1c.0", pcie_root=None, numa_node=None,
        addressing_mode=None, memory_bytes=40 << 30,
    )  # fmt: skip
    described = [describe_gpu(replace(facts, minor=minor)) for minor in range(count)]
    return Inventory({each["name"]: Device(each["name"], "", "", 0, "", None, each) for each in described}, {})


def test_more_devices_than_one_slice_holds(cluster: Cluster, api: Api) -> None:
    offered = many_devices(140)
    publisher = Publisher(api, cluster.node_name, lambda: offered, Counter())

    publisher.reconcile()
    slices = cluster.slices()
    assert [len(each["spec"]["devices"]) for each in slices] == [128, 12]
    assert {each["spec"]["pool"]["resourceSliceCount"] for each in slices} == {2}

    before = versions(cluster)
    publisher.reconcile()
    assert versions(cluster) == before, "nothing differs, so nothing is written"

    cluster.admin.delete(f"/apis/resource.k8s.io/v1/resourceslices/{slices[0]['metadata']['name']}")
    publisher.reconcile()
    assert len(cluster.device_names()) == 140
    assert {each["spec"]["pool"]["generation"] for each in cluster.slices()} == {2}, "one generation for all"

    offered = many_devices(3)
    publisher.reconcile()
    assert [(generation, name[:2]) for name, _, generation in versions(cluster)] == [(3, "0-")], (
        "what is too many is deleted"
    )


def test_an_api_server_that_is_away_is_an_error_that_says_so(cluster: Cluster, tmp_path: Path) -> None:
    unreachable = tmp_path / "kubeconfig"
    unreachable.write_text(cluster.driver_kubeconfig().read_text().replace(cluster.server, "https://127.0.0.1:1"))
    api = Api(unreachable, cluster.node_name)
    with pytest.raises(KubeError, match="cannot list ResourceSlices"):
        Publisher(api, cluster.node_name, lambda: many_devices(1), Counter()).reconcile()
    api.close()


def test_a_node_made_anew_owns_the_slices(make_node: Callable[..., Node]) -> None:
    node = make_node(count=1, mig=False)
    node.start_driver()
    assert node.cluster.admin.delete("/api/v1/nodes/node-a").is_success
    node.cluster.create_node()
    node.cluster.delete_slices()
    assert eventually(
        lambda: (
            [each["metadata"]["ownerReferences"][0]["uid"] for each in node.cluster.slices()] == [node.cluster.node_uid]
        )
    )
