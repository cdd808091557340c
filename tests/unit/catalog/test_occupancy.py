from __future__ import annotations

from typing import Any

import pytest

from gpu_catalog.devices import Device, counter_set, describe_gpu, describe_partition, possible_partitions
from gpu_catalog.layouts import GpuLayout, place
from gpu_catalog.occupancy import Gpu, Holder, PodClaim, Segment, occupancy, planned
from gpu_catalog.slices import ResourceSlice, build_slices

from .nodes import A100, H100, RTX_PRO_6000, T4, claim, gpu, partitioned, pod, whole


def slices_of(devices: list[Device], node: str = "node-a", generation: int = 1) -> list[ResourceSlice]:
    return build_slices("gpu.nvidia.com", node, "uid", generation, devices)


def only_gpu(slices: list[ResourceSlice], *claims: dict[str, Any], pods: tuple[dict[str, Any], ...] = ()) -> Gpu:
    (node,) = occupancy(slices, claims, pods).nodes
    (only,) = node.gpus
    return only


def drawn(only: Gpu) -> list[tuple[int, int, str, str, str]]:
    return [(each.start, each.size, each.label, each.caption, each.state) for each in only.segments]


def test_static_slices_stand_where_their_memory_is() -> None:
    held = claim("train-gpu-x7k2p", "gpu-0-mig-3g20gb-9-4", pods=("train",))

    only = only_gpu(slices_of(partitioned(0)), held)

    assert (only.name, only.product, only.units) == ("gpu-0", "NVIDIA A100-SXM4-40GB", 8)
    assert drawn(only) == [
        (0, 1, "1g.5gb", "free", "free"),
        (1, 1, "1g.5gb", "free", "free"),
        (2, 2, "2g.10gb", "free", "free"),
        (4, 4, "3g.20gb", "train", "held"),
    ]
    assert only.segments[3].device == "gpu-0-mig-3g20gb-9-4"
    assert only.segments[3].holders == (Holder("default", "train-gpu-x7k2p", ("train",), "train"),)


def test_what_is_not_partitioned_is_unused() -> None:
    only = only_gpu(slices_of(partitioned(0, A100, **{"1g.5gb": 7})))

    assert drawn(only)[-1] == (7, 1, "", "", "unused")
    assert only.units == 8


@pytest.mark.parametrize("strip", ["capacity", "product", "both"])
def test_a_slice_that_says_less_is_placed_by_its_name_and_the_catalogue(strip: str) -> None:
    devices = partitioned(0)
    for device in devices:
        if strip in {"capacity", "both"}:
            device["capacity"] = {"memory": device["capacity"]["memory"]}
        if strip in {"product", "both"}:
            device["attributes"]["productName"] = {"string": "NVIDIA A900"}

    places = [(each.start, each.size) for each in only_gpu(slices_of(devices)).segments]

    # Without a place and without a board only the starts are known.
    known = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)] if strip == "both" else [(0, 1), (1, 1), (2, 2), (4, 4)]
    assert places == known


def test_a_partition_of_twelve_units_is_whole_without_memory_slices() -> None:
    only = only_gpu(slices_of(partitioned(0, RTX_PRO_6000, **{"4g.96gb": 1})))

    assert drawn(only) == [(0, 12, "4g.96gb", "free", "free")]


def test_a_gpu_without_mig_is_one_piece() -> None:
    only = only_gpu(slices_of([whole(0, T4)]), claim("infer", "gpu-0", pods=("a", "b")))

    assert drawn(only) == [(0, 1, "whole GPU", "infer", "held")]


def divisible() -> list[ResourceSlice]:
    partitions = possible_partitions(gpu(0, H100), H100)
    devices = [describe_gpu(gpu(0, H100), partitions), *map(describe_partition, partitions)]
    return build_slices("gpu.nvidia.com", "node-a", "uid", 1, devices, counter_sets=[counter_set(0, partitions)])


def test_a_gpu_that_is_divided_on_demand_shows_what_is_taken_and_what_is_free() -> None:
    held = claim("train", "gpu-0-mig-2g20gb-14-2", pods=("train",))

    assert drawn(only_gpu(divisible(), held)) == [
        (0, 2, "free", "", "free"),
        (2, 2, "2g.20gb", "train", "held"),
        (4, 4, "free", "", "free"),
    ]
    assert drawn(only_gpu(divisible(), claim("all", "gpu-0"))) == [(0, 8, "whole GPU", "all", "held")]
    assert drawn(only_gpu(divisible())) == [(0, 8, "free", "", "free")]


@pytest.mark.parametrize(
    ("metadata", "caption"),
    [
        ({}, "train-6c5d8-x7k2p"),
        ({"generateName": "train-6c5d8-"}, "train-6c5d8"),
        ({"generateName": "train-6c5d8-", "labels": {"pod-template-hash": "6c5d8"}}, "train"),
    ],
)
def test_a_slice_is_captioned_with_the_workload_of_its_pod(metadata: dict[str, Any], caption: str) -> None:
    pods = (pod("train-6c5d8-x7k2p", "claim-1", **metadata),)
    held = claim("claim-1", "gpu-0-mig-1g5gb-19-0", pods=("train-6c5d8-x7k2p",))

    assert only_gpu(slices_of(partitioned(0)), held, pods=pods).segments[0].caption == caption


def test_a_device_that_several_claims_hold_counts_them() -> None:
    claims = [claim("one", "gpu-0", pods=("a",)), claim("two", "gpu-0", pods=("b",))]

    assert only_gpu(slices_of([whole(0)]), *claims).segments[0].caption == "a +1"


def test_administrative_access_holds_nothing() -> None:
    only = only_gpu(slices_of([whole(0)]), claim("watch", "gpu-0", pods=("dcgm",), adminAccess=True))

    assert only.segments[0].state == "free"


def test_nodes_and_gpus_are_in_order_and_claims_stay_on_their_node() -> None:
    slices = [
        *slices_of([whole(10), whole(2)], node="node-b"),
        *slices_of(partitioned(0), node="node-a"),
    ]

    nodes = occupancy(slices, [claim("c", "gpu-2", pool="node-b")], []).nodes

    assert [(node.name, [each.name for each in node.gpus]) for node in nodes] == [
        ("node-a", ["gpu-0"]),
        ("node-b", ["gpu-2", "gpu-10"]),
    ]
    assert [(node.devices, node.held) for node in nodes] == [(4, 0), (2, 1)]


def test_leftovers_of_an_older_generation_are_not_drawn() -> None:
    slices = [*slices_of([whole(0), whole(1)], generation=3), *slices_of([whole(0)], generation=4)]

    assert only_gpu(slices).name == "gpu-0"
    assert only_gpu(list(reversed(slices))).name == "gpu-0"


def test_other_drivers_are_not_drawn() -> None:
    foreign = build_slices("dra.net", "node-a", "uid", 1, [whole(0)])
    held = claim("network", "gpu-0")
    held["status"]["allocation"]["devices"]["results"][0]["driver"] = "dra.net"

    assert occupancy(foreign, [held], [pod("p", "network")]).nodes == ()
    assert occupancy(foreign, [held], [pod("p", "network")]).pods == ()
    assert occupancy(foreign, [], [], driver="dra.net").nodes[0].gpus[0].name == "gpu-0"


def test_pods_with_their_claims() -> None:
    claims = [claim("train-claim", "gpu-0-mig-1g5gb-19-0", "gpu-0-mig-1g5gb-19-1"), claim("waiting-claim")]
    pods = [
        pod("waiting", "waiting-claim", phase="Pending", node=""),
        pod("train", "train-claim"),
        pod("leaving", "gone", deletionTimestamp="2026-01-01T00:00:00Z"),
        {"metadata": {"name": "no-gpu", "namespace": "default"}, "spec": {"nodeName": "node-a"}, "status": {}},
    ]

    assert occupancy([], claims, pods).pods == (
        PodClaim("default", "leaving", "Terminating", "node-a", "gone", ()),
        PodClaim(
            "default",
            "train",
            "Running",
            "node-a",
            "train-claim",
            ("gpu-0-mig-1g5gb-19-0", "gpu-0-mig-1g5gb-19-1"),
        ),
        PodClaim("default", "waiting", "Pending", "", "waiting-claim", ()),
    )


def test_claims_named_by_the_pod_not_yet_made_or_made_for_an_extended_resource() -> None:
    shared = {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {
            "resourceClaims": [
                {"name": "a", "resourceClaimName": "shared"},
                {"name": "b", "resourceClaimTemplateName": "template"},
            ]
        },
        "status": {"phase": "Pending", "extendedResourceClaimStatus": {"resourceClaimName": "p-extended"}},
    }

    assert [row.claim for row in occupancy([], [], [shared]).pods] == ["p-extended", "shared", "template"]


def test_a_namespace_narrows_the_pods_and_not_the_holders() -> None:
    held = claim("c", "gpu-0", pods=("p",))

    seen = occupancy(slices_of([whole(0)]), [held], [pod("p", "c")], namespace="other")

    assert seen.pods == ()
    assert seen.nodes[0].held == 1


def test_a_plan_is_drawn_with_the_memory_of_each_slice() -> None:
    layout = GpuLayout(0, mig_enabled=True, placements=place(A100, {"3g.20gb": 1, "2g.10gb": 1}))

    assert planned(A100, layout, "gpu-0..7").segments == (
        Segment(0, 2, "", "", "unused"),
        Segment(2, 2, "2g.10gb", "9.625Gi", "free", "2g.10gb"),
        Segment(4, 4, "3g.20gb", "19.5Gi", "free", "3g.20gb"),
    )
    assert drawn(planned(A100, GpuLayout(0, mig_enabled=False, placements=()), "g")) == [
        (0, 8, "whole GPU", "40Gi", "free")
    ]
    assert drawn(planned(T4, None, "g")) == [(0, 1, "left as it is", "", "free")]
