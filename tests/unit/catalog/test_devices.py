from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpu_catalog.boards import Board, load_catalog
from gpu_catalog.devices import (
    MIB,
    GpuFacts,
    GpuName,
    MigFacts,
    MigName,
    binary_quantity,
    counter_set,
    describe_gpu,
    describe_mig,
    describe_partition,
    device_name,
    device_order,
    mig_device_name,
    mig_profile_name,
    normalise_pci_bus_id,
    normalise_version,
    parse_device_name,
    possible_partitions,
)

from .nodes import A100, RTX_PRO_6000, T4, gpu

DATA = Path(__file__).parent / "data"
GPU_0 = GpuFacts(
    minor=0,
    uuid="GPU-2fa81118-5a5f-aa66-7660-471eed407181",
    product_name="NVIDIA A100-SXM4-40GB",
    brand="Nvidia",
    architecture="Ampere",
    cuda_compute_capability="8.0",
    driver_version="580.126.20",
    cuda_driver_version="13.0",
    pci_bus_id="00000000:65:00.0",
    pcie_root="pci0000:64",
    numa_node=0,
    addressing_mode="HMM",
    memory_bytes=40960 * MIB,
)
GPU_1 = replace(
    GPU_0,
    minor=1,
    uuid="GPU-7a9f0f3c-0c5e-4a57-9d2b-3a5d6d1f0b11",
    pci_bus_id="00000000:CA:00.0",
    pcie_root="pci0000:c9",
    numa_node=1,
)


def example(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DATA / f"{name}.yaml").read_text(encoding="utf-8")))


def mig(parent: GpuFacts, profile: str, start: int, uuid: str | None) -> MigFacts:
    found = next(each for each in possible_partitions(parent, A100) if (each.profile, each.start) == (profile, start))
    return replace(found, uuid=uuid)


def test_gpus_and_static_mig_devices_are_described_as_nvidias_driver_does() -> None:
    devices = [
        describe_gpu(GPU_0),
        describe_mig(mig(GPU_1, "3g.20gb", 0, "MIG-1a2b3c4d-5e6f-5a8b-9c0d-1e2f3a4b5c6d")),
        describe_mig(mig(GPU_1, "1g.5gb", 4, "MIG-2b3c4d5e-6f70-5b8c-8d0e-2f3a4b5c6d7e")),
    ]

    (published,) = example("default-a100-40gb")
    assert devices == published["spec"]["devices"]
    # Also in the order of keys, so that the text is the same too.
    assert yaml.safe_dump(devices, sort_keys=False) == yaml.safe_dump(published["spec"]["devices"], sort_keys=False)


def test_partitions_and_counters_are_described_as_nvidias_driver_does() -> None:
    partitions = possible_partitions(GPU_0, A100)

    counters, devices = example("dynmig-a100-40gb-k8s135")
    assert [counter_set(0, partitions)] == counters["spec"]["sharedCounters"]
    assert [describe_gpu(GPU_0, partitions), *map(describe_partition, partitions)] == devices["spec"]["devices"]


def test_a_partition_that_does_not_exist_yet_has_no_uuid_and_no_memory_slices() -> None:
    device = describe_mig(mig(GPU_0, "1g.5gb", 3, None))

    assert "uuid" not in device["attributes"]
    assert not [key for key in device["capacity"] if key.startswith("memorySlice")]


def test_what_is_unknown_is_left_out() -> None:
    unknown = describe_gpu(
        replace(
            GPU_0,
            pcie_root=None,
            numa_node=-1,
            addressing_mode=None,
            memory_bytes=None,
            driver_version="580.95.05.1",
            cuda_driver_version="",
        )
    )

    gone = {
        *("resource.kubernetes.io/pcieRoot", "resource.kubernetes.io/numaNode", "addressingMode"),
        *("driverVersion", "cudaDriverVersion"),
    }
    assert set(describe_gpu(GPU_0)["attributes"]) - set(unknown["attributes"]) == gone
    assert "capacity" not in unknown


def all_devices(board: Board) -> list[dict[str, Any]]:
    """Everything a board can be published as, on the GPU with the longest names."""
    parent = gpu(15, board)
    partitions = possible_partitions(parent, board)
    static = [describe_mig(replace(each, uuid="MIG-1a2b3c4d-5e6f-5a8b-9c0d-1e2f3a4b5c6d")) for each in partitions]
    return [
        describe_gpu(parent),
        describe_gpu(parent, partitions),
        *static,
        *map(describe_mig, partitions),
        *map(describe_partition, partitions),
    ]


@pytest.mark.parametrize("board", load_catalog().boards, ids=lambda board: board.key)
def test_every_device_of_every_board_is_one_the_api_server_takes(board: Board) -> None:
    for device in all_devices(board):
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", device["name"])
        assert len(device["attributes"]) + len(device.get("capacity", {})) <= 32
        for attribute in device["attributes"].values():
            ((kind, value),) = attribute.items()
            assert kind in {"string", "version", "int"}
            assert kind == "int" or 0 < len(value) <= 64
            assert kind != "version" or re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", value)
        for consumption in device.get("consumesCounters", ()):
            assert len(consumption["counters"]) <= 32


@pytest.mark.parametrize("board", load_catalog().mig_boards(), ids=lambda board: board.key)
def test_partitions_consume_only_counters_that_exist(board: Board) -> None:
    parent = gpu(0, board)
    partitions = possible_partitions(parent, board)
    counters = counter_set(0, partitions)

    assert len([name for name in counters["counters"] if name.startswith("memory-slice-")]) == board.grid_units
    for device in [describe_gpu(parent, partitions), *map(describe_partition, partitions)]:
        (consumption,) = device["consumesCounters"]
        assert consumption["counterSet"] == counters["name"]
        assert consumption["counters"].keys() <= counters["counters"].keys()
    assert describe_gpu(parent, partitions)["consumesCounters"][0]["counters"] == counters["counters"]


def test_a_static_partition_of_twelve_units_keeps_to_the_number_of_keys() -> None:
    whole = next(each for each in possible_partitions(gpu(0, RTX_PRO_6000), RTX_PRO_6000) if each.size == 12)
    half = next(each for each in possible_partitions(gpu(0, RTX_PRO_6000), RTX_PRO_6000) if each.size == 6)

    assert "memorySlice0" not in describe_mig(replace(whole, uuid="MIG-1"))["capacity"]
    assert "memorySlice5" in describe_mig(replace(half, uuid="MIG-1"))["capacity"]


def test_a_board_without_mig_has_no_partitions() -> None:
    assert possible_partitions(gpu(0, T4), T4) == ()
    assert describe_gpu(gpu(0, T4))["capacity"] == {"memory": {"value": "15Gi"}}


@pytest.mark.parametrize(
    ("profile", "gi_profile_id", "start", "name"),
    [
        ("1g.5gb", 19, 0, "gpu-0-mig-1g5gb-19-0"),
        ("1g.5gb+me", 20, 3, "gpu-0-mig-1g5gb-me-20-3"),
        ("1g.24gb+me.all", 65, 9, "gpu-0-mig-1g24gb-meall-65-9"),
        ("1g.24gb-me", 67, 0, "gpu-0-mig-1g24gb-me-67-0"),
        ("4g.96gb+gfx", 32, 0, "gpu-0-mig-4g96gb-gfx-32-0"),
    ],
)
def test_names_of_mig_devices(profile: str, gi_profile_id: int, start: int, name: str) -> None:
    assert mig_device_name(0, profile, gi_profile_id, start) == name
    parsed = parse_device_name(name)
    assert isinstance(parsed, MigName)
    assert (parsed.minor, parsed.gi_profile_id, parsed.start) == (0, gi_profile_id, start)


@pytest.mark.parametrize("board", load_catalog().mig_boards(), ids=lambda board: board.key)
def test_names_of_one_gpu_are_unique_and_can_be_parsed(board: Board) -> None:
    partitions = possible_partitions(gpu(7, board), board)
    names = [device_name(each) for each in partitions]

    assert len(set(names)) == len(names)
    for partition, name in zip(partitions, names, strict=True):
        parsed = parse_device_name(name)
        assert isinstance(parsed, MigName)
        assert (parsed.minor, parsed.gi_profile_id, parsed.start) == (7, partition.gi_profile_id, partition.start)


def test_names_that_are_not_of_this_vocabulary() -> None:
    assert parse_device_name("gpu-3") == GpuName(3)
    assert [parse_device_name(name) for name in ("gpu-vfio-0", "channel-0", "gpu-", "gpu-0-mig-x")] == [None] * 4


def test_devices_are_ordered_by_gpu_then_name() -> None:
    names = ["gpu-10", "gpu-2-mig-3g20gb-9-4", "gpu-2", "gpu-2-mig-1g5gb-19-0", "gpu-0"]

    assert sorted(names, key=device_order) == [
        *("gpu-0", "gpu-2", "gpu-2-mig-1g5gb-19-0", "gpu-2-mig-3g20gb-9-4", "gpu-10"),
    ]


@pytest.mark.parametrize(
    ("version", "normalised"),
    [
        ("580.126.20", "580.126.20"),
        ("580.95.05", "580.95.5"),
        ("13.0", "13.0.0"),
        ("8", "8.0.0"),
        ("v1.2.3", "1.2.3"),
        ("580.95.05-beta.1+x", "580.95.5-beta.1+x"),
        ("580.95.05.1", None),
        ("", None),
        ("unknown", None),
        ("1.2.3-" + "a" * 64, None),
    ],
)
def test_versions_become_semantic_ones_or_nothing(version: str, normalised: str | None) -> None:
    assert normalise_version(version) == normalised


@given(st.text())
def test_no_text_as_version_is_a_crash(text: str) -> None:
    normalised = normalise_version(text)
    assert normalised is None or normalise_version(normalised) == normalised


@pytest.mark.parametrize(
    ("amount", "quantity"),
    [(0, "0"), (1, "1"), (1000, "1000"), (1024, "1Ki"), (42949672960, "40Gi"), (81559 * MIB, "81559Mi")],
)
def test_quantities_are_in_canonical_binary_form(amount: int, quantity: str) -> None:
    assert binary_quantity(amount) == quantity


@given(st.integers(0, 2**62))
def test_a_quantity_says_exactly_its_amount(amount: int) -> None:
    number, suffix = re.fullmatch(r"(\d+)([KMGTPE]i)?", binary_quantity(amount)).groups()  # type: ignore[union-attr]
    powers = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
    assert int(number) * 1024 ** powers.index(suffix or "") == amount


@pytest.mark.parametrize(
    ("given_", "normalised"),
    [
        ("00000000:65:00.0", "0000:65:00.0"),
        ("0000:65:00.0", "0000:65:00.0"),
        ("00000000:CA:1C.0", "0000:ca:1c.0"),
        ("00010000:01:00.0", "10000:01:00.0"),
    ],
)
def test_pci_bus_ids_are_in_the_form_of_sysfs(given_: str, normalised: str) -> None:
    assert normalise_pci_bus_id(given_) == normalised


def test_what_is_no_pci_bus_id_is_refused() -> None:
    with pytest.raises(ValueError, match="'65:00' is not a PCI bus id"):
        normalise_pci_bus_id("65:00")


@pytest.mark.parametrize(
    ("mig_memory_mib", "gpu_memory_mib", "slices", "attribute", "name"),
    [
        (4864, 40960, 1, "", "1g.5gb"),
        (4864, 40960, 1, "+me", "1g.5gb+me"),
        (20096, 40960, 3, "", "3g.20gb"),  # another driver branch, the same name
        (9984, 81559, 1, "", "1g.10gb"),
        (71168, 143771, 3, "", "3g.71gb"),  # 70.5 is rounded up
        (24192, 97887, 1, "-me", "1g.24gb-me"),
    ],
)
def test_profile_names_follow_from_memory(
    mig_memory_mib: int, gpu_memory_mib: int, slices: int, attribute: str, name: str
) -> None:
    assert mig_profile_name(mig_memory_mib, gpu_memory_mib * MIB, slices, attribute) == name
