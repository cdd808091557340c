"""How a GPU or a MIG device is described to Kubernetes: one `resource.k8s.io/v1` device as a JSON-able dict.

Owns the vocabulary (names, attributes, capacity, counters), which is that of NVIDIA's DRA driver, so that claims
written for it select the same devices here. It never reads hardware: the driver fills the facts from NVML, the policy
pack and the planner fill them from the catalogue, and all see the same description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpu_catalog.boards import Board

Device = dict[str, Any]
"""A device of a ResourceSlice, keys in the order the API server returns them (sorted)."""

MIB = 2**20

_MIG_NAME = re.compile(r"gpu-(?P<minor>\d+)-mig-(?P<profile>.+)-(?P<profile_id>\d+)-(?P<start>\d+)")
_GPU_NAME = re.compile(r"gpu-(?P<minor>\d+)")
_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_PCI_BUS_ID = re.compile(r"([0-9a-f]+):([0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])")
_MAX_ATTRIBUTE = 64
"""Longest string or version the API server takes as an attribute value."""
_MAX_KEYS = 32
"""Most attributes and capacities, together, that the API server takes of one device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """What is published of a whole GPU. None means unknown: the attribute is then left out, as NVIDIA's driver does."""

    minor: int
    uuid: str
    product_name: str
    brand: str
    architecture: str
    cuda_compute_capability: str
    driver_version: str
    cuda_driver_version: str
    pci_bus_id: str
    pcie_root: str | None
    numa_node: int | None
    addressing_mode: str | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigFacts:
    """What is published of a MIG device: existing (static, with its `uuid`) or possible (a partition, without one)."""

    parent: GpuFacts
    profile: str
    gi_profile_id: int
    start: int
    size: int
    memory_mib: int
    multiprocessors: int
    copy_engines: int
    decoders: int
    encoders: int
    jpeg_engines: int
    ofa_engines: int
    uuid: str | None = None


@dataclass(frozen=True, slots=True)
class GpuName:
    """A parsed `gpu-0`. The number is the NVML minor number, not the index."""

    minor: int


@dataclass(frozen=True, slots=True)
class MigName:
    """A parsed `gpu-0-mig-1g5gb-19-0`. `profile` is the name's form of the profile (`1g5gb`, `1g5gb-me`)."""

    minor: int
    profile: str
    gi_profile_id: int
    start: int


def gpu_device_name(minor: int) -> str:
    return f"gpu-{minor}"


def mig_device_name(minor: int, profile: str, gi_profile_id: int, start: int) -> str:
    """`gpu-0-mig-1g5gb-me-20-3` for profile `1g.5gb+me`: dots go, whatever a DNS label cannot hold becomes a dash."""
    label = re.sub(r"[^a-z0-9-]", "-", profile.lower().replace(".", "")).strip("-")
    return f"gpu-{minor}-mig-{label}-{gi_profile_id}-{start}"


def counter_set_name(minor: int) -> str:
    return f"gpu-{minor}-counter-set"


def parse_device_name(name: str) -> GpuName | MigName | None:
    """What a device name says, or None when it is not of this vocabulary."""
    if match := _MIG_NAME.fullmatch(name):
        return MigName(int(match["minor"]), match["profile"], int(match["profile_id"]), int(match["start"]))
    if match := _GPU_NAME.fullmatch(name):
        return GpuName(int(match["minor"]))
    return None


def device_order(name: str) -> tuple[int, str]:
    """Sort key of device names: by GPU, then the whole GPU before its MIG devices. The scheduler tries this order."""
    parsed = parse_device_name(name)
    return (parsed.minor if parsed else -1, name)


def mig_profile_name(mig_memory_mib: int, gpu_memory_bytes: int, slices: int, attribute: str = "") -> str:
    """The profile name that go-nvlib computes from memory: `1g.5gb` of 4864 MiB on a 40 GiB GPU.

    The share of memory is rounded up to eighths, then taken of the GPU's GiB (rounded up), and rounded half up.
    `attribute` is the suffix, such as `+me`.
    """
    eighths = -(-mig_memory_mib * MIB * 8 // gpu_memory_bytes)
    gpu_gib = -(-gpu_memory_bytes // 2**30)
    return f"{slices}g.{(2 * eighths * gpu_gib + 8) // 16}gb{attribute}"


def normalise_version(version: str) -> str | None:
    """A three-part semantic version: `8.0` is `8.0.0`, `580.95.05` is `580.95.5`; None when it cannot be one."""
    match = _VERSION.fullmatch(version)
    if not match:
        return None
    major, minor, patch, prerelease, build = match.groups(default="")
    text = f"{int(major)}.{int(minor or 0)}.{int(patch or 0)}{prerelease}{build}"
    return text if len(text) <= _MAX_ATTRIBUTE else None


def normalise_pci_bus_id(bus_id: str) -> str:
    """The sysfs form `0000:65:00.0` of NVML's `00000000:65:00.0`. Raises ValueError for anything else."""
    match = _PCI_BUS_ID.fullmatch(bus_id.lower())
    if not match:
        raise ValueError(f"{bus_id!r} is not a PCI bus id such as 0000:65:00.0")
    return f"{int(match[1], 16):04x}:{match[2]}"


def binary_quantity(amount: int) -> str:
    """A Kubernetes quantity in canonical binary form: 42949672960 is `40Gi`, 81559 * 2**20 is `81559Mi`."""
    for suffix, power in (("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if amount and amount % 2**power == 0:
            return f"{amount >> power}{suffix}"
    return str(amount)


def describe_gpu(facts: GpuFacts, partitions: Sequence[MigFacts] = ()) -> Device:
    """The whole GPU. With `partitions` it can be divided: its capacity is then what they can take together, which is
    also what it consumes of its counter set (so its memory is the largest profile's, as NVIDIA's driver has it).
    """
    device: Device = {
        "name": gpu_device_name(facts.minor),
        "attributes": _sorted({**_gpu_attributes(facts), "type": {"string": "gpu"}, "uuid": {"string": facts.uuid}}),
    }
    if partitions:
        limits = _limits(partitions)
        device["capacity"] = _capacity(limits)
        device["consumesCounters"] = [_consumption(facts.minor, limits, range(_grid_units(partitions)))]
    elif facts.memory_bytes is not None:
        device["capacity"] = {"memory": {"value": binary_quantity(facts.memory_bytes)}}
    return device


def describe_mig(facts: MigFacts) -> Device:
    """A MIG device that exists (with `uuid`: its grid units show as capacity `memorySlice<i>`) or could exist."""
    device = _mig_device(facts)
    if facts.uuid is not None:
        units = range(facts.start, facts.start + facts.size)
        device["attributes"] = _sorted({**device["attributes"], "uuid": {"string": facts.uuid}})
        memory_slices = {f"memorySlice{unit}": {"value": "1"} for unit in units}
        # A partition of all 12 units of an RTX PRO would be refused for its number of keys, and with it the whole
        # slice; its place is also in its name.
        if len(device["attributes"]) + len(device["capacity"]) + len(memory_slices) <= _MAX_KEYS:
            device["capacity"] = _sorted({**device["capacity"], **memory_slices})
    return device


def describe_partition(facts: MigFacts) -> Device:
    """A MIG device that is created when it is claimed: it consumes its units and engines of its GPU's counter set."""
    units = range(facts.start, facts.start + facts.size)
    return {
        **_mig_device(facts),
        "consumesCounters": [_consumption(facts.parent.minor, _amounts(facts), units)],
    }


def counter_set(minor: int, partitions: Sequence[MigFacts]) -> dict[str, Any]:
    """The counters of one GPU that its partitions consume: every engine's limit, memory, and one per grid unit."""
    return {
        "name": counter_set_name(minor),
        "counters": _counters(_limits(partitions), range(_grid_units(partitions))),
    }


def possible_partitions(parent: GpuFacts, board: Board) -> tuple[MigFacts, ...]:
    """Every profile of the board at every place on one GPU, in the order of their device names."""
    partitions = [
        MigFacts(
            parent=parent,
            profile=profile.name,
            gi_profile_id=profile.gi_profile_id,
            start=start,
            size=profile.size,
            memory_mib=profile.memory_mib,
            multiprocessors=profile.multiprocessors,
            copy_engines=profile.copy_engines,
            decoders=profile.decoders,
            encoders=profile.encoders,
            jpeg_engines=profile.jpeg_engines,
            ofa_engines=profile.ofa_engines,
        )
        for profile in board.profiles
        for start in profile.starts
    ]
    return tuple(sorted(partitions, key=lambda each: device_order(device_name(each))))


def device_name(facts: GpuFacts | MigFacts) -> str:
    if isinstance(facts, GpuFacts):
        return gpu_device_name(facts.minor)
    return mig_device_name(facts.parent.minor, facts.profile, facts.gi_profile_id, facts.start)


# The two spellings of the same resources: capacity of a device, counter of a counter set.
_RESOURCES = {
    "multiprocessors": ("multiprocessors", "multiprocessors"),
    "copy_engines": ("copyEngines", "copy-engines"),
    "decoders": ("decoders", "decoders"),
    "encoders": ("encoders", "encoders"),
    "jpeg_engines": ("jpegEngines", "jpeg-engines"),
    "ofa_engines": ("ofaEngines", "ofa-engines"),
    "memory_mib": ("memory", "memory"),
}


def _amounts(facts: MigFacts) -> dict[str, int]:
    return {field: getattr(facts, field) for field in _RESOURCES}


def _limits(partitions: Sequence[MigFacts]) -> dict[str, int]:
    return {field: max(getattr(partition, field) for partition in partitions) for field in _RESOURCES}


def _grid_units(partitions: Sequence[MigFacts]) -> int:
    return max(partition.size for partition in partitions)


def _value(field: str, amount: int) -> dict[str, str]:
    return {"value": binary_quantity(amount * MIB) if field == "memory_mib" else str(amount)}


def _capacity(amounts: Mapping[str, int]) -> dict[str, Any]:
    return _sorted({_RESOURCES[field][0]: _value(field, amount) for field, amount in amounts.items()})


def _counters(amounts: Mapping[str, int], units: range) -> dict[str, Any]:
    counters = {_RESOURCES[field][1]: _value(field, amount) for field, amount in amounts.items()}
    return _sorted({**counters, **{f"memory-slice-{unit}": {"value": "1"} for unit in units}})


def _consumption(minor: int, amounts: Mapping[str, int], units: range) -> dict[str, Any]:
    return {"counterSet": counter_set_name(minor), "counters": _counters(amounts, units)}


def _mig_device(facts: MigFacts) -> Device:
    attributes = {
        **_gpu_attributes(facts.parent),
        "parentUUID": {"string": facts.parent.uuid},
        "profile": {"string": facts.profile},
        "type": {"string": "mig"},
    }
    return {
        "name": device_name(facts),
        "attributes": _sorted(attributes),
        "capacity": _capacity(_amounts(facts)),
    }


def _gpu_attributes(facts: GpuFacts) -> dict[str, Any]:
    strings = {
        "addressingMode": facts.addressing_mode,
        "architecture": facts.architecture,
        "brand": facts.brand,
        "productName": facts.product_name,
        "resource.kubernetes.io/pciBusID": normalise_pci_bus_id(facts.pci_bus_id),
        "resource.kubernetes.io/pcieRoot": facts.pcie_root,
    }
    versions = {
        "cudaComputeCapability": normalise_version(facts.cuda_compute_capability),
        "cudaDriverVersion": normalise_version(facts.cuda_driver_version),
        "driverVersion": normalise_version(facts.driver_version),
    }
    attributes: dict[str, Any] = {key: {"string": text} for key, text in strings.items() if text is not None}
    attributes |= {key: {"version": text} for key, text in versions.items() if text is not None}
    if facts.numa_node is not None and facts.numa_node >= 0:
        attributes["resource.kubernetes.io/numaNode"] = {"int": facts.numa_node}
    return attributes


def _sorted(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(mapping.items()))
