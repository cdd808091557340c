from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpu_catalog.boards import Board
from gpu_catalog.devices import Device, counter_set, describe_gpu, describe_mig, describe_partition, possible_partitions
from gpu_catalog.slices import ResourceSlice, build_slices, same_slices

from .nodes import A100, RTX_PRO_6000, gpu, partitioned, whole
from .test_devices import GPU_0, GPU_1, example, mig

NODE_UID = "11111111-2222-3333-4444-555555555555"


def slices_of(devices: list[Device], counter_sets: list[dict[str, Any]] | None = None) -> list[ResourceSlice]:
    return build_slices("gpu.nvidia.com", "node-a", NODE_UID, 1, devices, counter_sets=counter_sets or [])


def divisible(gpus: int, board: Board = A100) -> tuple[list[Device], list[dict[str, Any]]]:
    devices, counters = [], []
    for minor in range(gpus):
        partitions = possible_partitions(gpu(minor, board), board)
        devices += [describe_gpu(gpu(minor, board), partitions), *map(describe_partition, partitions)]
        counters.append(counter_set(minor, partitions))
    return devices, counters


def test_static_slices_are_those_of_nvidias_driver() -> None:
    devices = [
        describe_mig(mig(GPU_1, "1g.5gb", 4, "MIG-2b3c4d5e-6f70-5b8c-8d0e-2f3a4b5c6d7e")),
        describe_gpu(GPU_0),
        describe_mig(mig(GPU_1, "3g.20gb", 0, "MIG-1a2b3c4d-5e6f-5a8b-9c0d-1e2f3a4b5c6d")),
    ]
    (published,) = example("default-a100-40gb")
    published["spec"]["devices"].sort(key=lambda device: device["name"])

    assert slices_of(devices) == [published]


def test_dynamic_slices_are_those_of_nvidias_driver() -> None:
    partitions = possible_partitions(GPU_0, A100)
    devices = [describe_gpu(GPU_0, partitions), *map(describe_partition, partitions)]

    slices = slices_of(devices, [counter_set(0, partitions)])

    published = (Path(__file__).parent / "data" / "dynmig-a100-40gb-k8s135.yaml").read_text(encoding="utf-8")
    assert slices == list(yaml.safe_load_all(published))


def test_all_balanced_on_eight_gpus_is_one_slice_of_32_devices() -> None:
    (only,) = slices_of([device for minor in range(8) for device in partitioned(minor)])

    assert len(only["spec"]["devices"]) == 32
    assert only["spec"]["pool"] == {"name": "node-a", "generation": 1, "resourceSliceCount": 1}


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (128, [128]), (129, [128, 1]), (256, [128, 128])])
def test_plain_devices_are_split_at_128(count: int, sizes: list[int]) -> None:
    slices = slices_of([whole(minor) for minor in range(count)])

    assert [len(each["spec"]["devices"]) for each in slices] == sizes
    assert {each["spec"]["pool"]["resourceSliceCount"] for each in slices} <= {len(sizes)}


def test_a_taint_makes_the_limit_64() -> None:
    devices = [whole(minor) for minor in range(100)]
    devices[99]["taints"] = [{"key": "gpu.nvidia.com/xid", "value": "79", "effect": "NoSchedule"}]

    assert [len(each["spec"]["devices"]) for each in slices_of(devices)] == [64, 36]


def test_counters_stand_in_slices_of_their_own_and_each_gpu_in_its() -> None:
    devices, counters = divisible(9)

    slices = slices_of(devices, counters)

    assert [len(each["spec"].get("sharedCounters", [])) for each in slices] == [8, 1, *[0] * 9]
    assert [len(each["spec"].get("devices", [])) for each in slices] == [0, 0, *[26] * 9]
    assert not any("sharedCounters" in each["spec"] and "devices" in each["spec"] for each in slices)
    assert [each["metadata"]["generateName"].split("-")[0] for each in slices] == [*"0123456789", "a"]
    assert all(len({device["name"].split("-")[1] for device in each["spec"].get("devices", [])}) < 2 for each in slices)


def test_no_slice_of_any_board_is_over_the_limits() -> None:
    devices, counters = divisible(8, RTX_PRO_6000)

    for each in slices_of(devices, counters):
        assert len(each["spec"].get("devices", [])) <= 64
        assert len(each["spec"].get("sharedCounters", [])) <= 8
        assert all(len(counter["counters"]) <= 32 for counter in each["spec"].get("sharedCounters", []))


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_devices_changes_nothing(random: Any) -> None:
    devices, counters = divisible(3)
    devices += [device for minor in (10, 4) for device in partitioned(minor)]
    wanted = slices_of(devices, counters)
    random.shuffle(devices)
    random.shuffle(counters)

    assert slices_of(devices, counters) == wanted


def published(slices: list[ResourceSlice]) -> list[ResourceSlice]:
    """As an API server gives them back."""
    held = copy.deepcopy(slices)
    for number, each in enumerate(held):
        metadata = each["metadata"]
        metadata |= {"name": f"{metadata['generateName']}x{number}", "uid": f"uid-{number}", "resourceVersion": "12"}
        metadata |= {"generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"manager": "x"}]}
        each["spec"]["pool"]["generation"] = 7
        for device in each["spec"].get("devices", []):
            for taint in device.get("taints", []):
                taint["timeAdded"] = "2026-01-01T00:00:00Z"
    return list(reversed(held))


def wanted_slices() -> list[ResourceSlice]:
    devices, counters = divisible(2)
    devices += partitioned(2)
    devices[0]["taints"] = [{"key": "gpu.nvidia.com/xid", "value": "79", "effect": "NoSchedule"}]
    return slices_of(devices, counters)


def test_what_the_server_adds_is_no_difference() -> None:
    assert same_slices(published(wanted_slices()), wanted_slices())


def test_what_is_spelt_out_empty_is_no_difference() -> None:
    held = published(wanted_slices())
    for each in held:
        each["spec"] |= {"allNodes": None, "perDeviceNodeSelection": None}
        each["spec"].setdefault("devices", [])
        each["spec"].setdefault("sharedCounters", None)
        each["metadata"]["labels"] = {}

    assert same_slices(held, wanted_slices())


def _device(held: list[ResourceSlice]) -> Device:
    device: Device = next(each for each in held if each["spec"].get("devices"))["spec"]["devices"][0]
    return device


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.pop(),
        lambda held: held.append(copy.deepcopy(held[0])),
        lambda held: held[0]["spec"]["pool"].update(generation=8),
        lambda held: held[0]["spec"]["pool"].update(resourceSliceCount=9),
        lambda held: held[0]["metadata"]["ownerReferences"][0].update(uid="another"),
        lambda held: _device(held).update(name="gpu-99"),
        lambda held: _device(held)["attributes"].update(productName={"string": "another"}),
        lambda held: _device(held)["capacity"]["memory"].update(value="1Gi"),
        lambda held: _device(held).update(taints=[{"key": "more", "effect": "NoSchedule"}]),
        lambda held: next(each for each in held if "sharedCounters" in each["spec"])["spec"]["sharedCounters"].pop(),
    ],
)
def test_any_other_difference_is_seen(change: Callable[[list[ResourceSlice]], object]) -> None:
    held = published(wanted_slices())
    change(held)

    assert not same_slices(held, wanted_slices())


def test_nothing_published_and_nothing_wanted_are_the_same() -> None:
    assert same_slices([], [])
    assert not same_slices([], wanted_slices())
