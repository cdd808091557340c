"""The devices this node offers: what NVML sees, under the names and with the attributes that Kubernetes sees.

Owns the step from GPUs to devices: which of them are offered, and why others are not. Reads the PCI topology from sysfs;
never calls NVML and never changes a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gpu_catalog.devices import GpuFacts, MigFacts, describe_gpu, describe_mig
from gpu_dra_driver.gpus import Gpu, GpuFailure, GpuInstance

# Display adapters of DGX stations: GPUs to NVML, of no use for computing.
_DISPLAY_ONLY = frozenset({"DGX Display", "NVIDIA DGX Display"})
_PCI_ROOT = re.compile(r"pci[0-9a-f]{4,}:[0-9a-f]{2}")


@dataclass(frozen=True)
class Partition:
    """Which GPU instance and compute instance a MIG device is."""

    gi_id: int
    ci_id: int


@dataclass(frozen=True)
class Device:
    """One offered device. For a MIG device `minor`, `gpu_uuid` and `pci_bus_id` are its parent's."""

    name: str
    uuid: str
    gpu_uuid: str
    minor: int
    pci_bus_id: str
    partition: Partition | None
    published: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def kind(self) -> str:
        """The device type as attributes and metrics name it."""
        return "gpu" if self.partition is None else "mig"


@dataclass(frozen=True)
class Inventory:
    """A snapshot: devices by name in a fixed order, and one sentence for each GPU that offers none."""

    devices: Mapping[str, Device]
    problems: Mapping[str, str]

    def published(self) -> list[dict[str, Any]]:
        """The devices as the API takes them."""
        return [dict(device.published) for device in self.devices.values()]


EMPTY = Inventory(MappingProxyType({}), MappingProxyType({}))


def build(gpus: Iterable[Gpu | GpuFailure], driver_version: str, cuda_version: str, sysfs: Path) -> Inventory:
    """Describes every healthy GPU, ordered by minor number and then by place on the GPU, so restarts publish the same text."""
    devices: list[Device] = []
    problems: dict[str, str] = {}
    for gpu in gpus:
        if isinstance(gpu, GpuFailure):
            problems[f"GPU {gpu.index}"] = gpu.reason
        elif gpu.product_name not in _DISPLAY_ONLY:
            try:
                facts = _facts(gpu, driver_version, cuda_version, sysfs)
                offered = (
                    [_whole(gpu, facts)]
                    if gpu.mig_mode is None or not gpu.mig_mode.current
                    else list(_partitions(gpu, facts))
                )
            except ValueError as error:  # a description that the catalogue refuses concerns this GPU alone
                problems[f"GPU {gpu.index}"] = str(error)
                continue
            if not offered:
                problems[f"GPU {gpu.index}"] = (
                    "MIG mode is on but there are no MIG devices; nothing is published for this GPU"
                )
            devices += offered
    devices.sort(key=lambda device: device.minor)  # stable: the partitions of a GPU stay in the order of their places
    return Inventory(MappingProxyType({device.name: device for device in devices}), MappingProxyType(problems))


def _facts(gpu: Gpu, driver_version: str, cuda_version: str, sysfs: Path) -> GpuFacts:
    pcie_root, numa_node = _topology(sysfs, gpu.pci_bus_id)
    return GpuFacts(
        minor=gpu.minor,
        uuid=gpu.uuid,
        product_name=gpu.product_name,
        brand=gpu.brand,
        architecture=gpu.architecture,
        cuda_compute_capability=gpu.cuda_compute_capability,
        driver_version=driver_version,
        cuda_driver_version=cuda_version,
        pci_bus_id=gpu.pci_bus_id,
        pcie_root=pcie_root,
        numa_node=numa_node,
        addressing_mode=gpu.addressing_mode,
        memory_bytes=gpu.memory_bytes,
    )


def _whole(gpu: Gpu, facts: GpuFacts) -> Device:
    published = describe_gpu(facts)
    return Device(published["name"], gpu.uuid, gpu.uuid, gpu.minor, gpu.pci_bus_id, None, published)


def _partitions(gpu: Gpu, facts: GpuFacts) -> Iterator[Device]:
    for instance in sorted(gpu.instances, key=lambda each: each.start):
        compute = instance.whole_compute_instance
        # A GPU instance divided further, or not yet given a compute instance, is no MIG device that a claim could name.
        if compute is not None:
            published = describe_mig(_mig_facts(instance, facts, compute.uuid))
            partition = Partition(instance.id, compute.id)
            yield Device(published["name"], compute.uuid, gpu.uuid, gpu.minor, gpu.pci_bus_id, partition, published)


def _mig_facts(instance: GpuInstance, parent: GpuFacts, uuid: str) -> MigFacts:
    profile = instance.profile
    return MigFacts(
        parent=parent,
        profile=profile.name,
        gi_profile_id=profile.id,
        start=instance.start,
        size=instance.size,
        memory_mib=profile.memory_mib,
        multiprocessors=profile.multiprocessors,
        copy_engines=profile.copy_engines,
        decoders=profile.decoders,
        encoders=profile.encoders,
        jpeg_engines=profile.jpeg_engines,
        ofa_engines=profile.ofa_engines,
        uuid=uuid,
    )


def _topology(sysfs: Path, pci_bus_id: str) -> tuple[str | None, int | None]:
    """PCIe root complex and NUMA node; None for what sysfs does not tell (a virtual machine often hides both)."""
    link = sysfs / "bus/pci/devices" / pci_bus_id
    try:
        parts = link.readlink().parts
    except OSError:
        return None, None
    root = next((part for part in parts if _PCI_ROOT.fullmatch(part)), None)
    try:
        node = int((link / "numa_node").read_text())
    except (OSError, ValueError):
        node = -1
    return root, node if node >= 0 else None
