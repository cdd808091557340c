"""GPUs and their MIG instances as plain values, as NVML described them at one moment.

Owns the shapes only. `nvml` fills them; `mig` and `inventory` decide by them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MigMode:
    """Whether MIG is on now, and after the next reset of the GPU."""

    current: bool
    pending: bool


@dataclass(frozen=True)
class InstanceProfile:
    """A GPU instance profile as this GPU offers it. Memory in MiB."""

    id: int
    enum: int
    name: str
    slices: int
    memory_mib: int
    multiprocessors: int
    copy_engines: int
    decoders: int
    encoders: int
    jpeg_engines: int
    ofa_engines: int


@dataclass(frozen=True)
class ComputeInstance:
    """A compute instance; one that spans its whole GPU instance is a MIG device."""

    id: int
    slices: int
    uuid: str


@dataclass(frozen=True)
class GpuInstance:
    """A GPU instance and where it lies on the GPU's grid of memory units."""

    id: int
    profile: InstanceProfile
    start: int
    size: int
    compute_instances: tuple[ComputeInstance, ...]

    @property
    def whole_compute_instance(self) -> ComputeInstance | None:
        """The compute instance that spans this GPU instance, if it is the only one."""
        if len(self.compute_instances) == 1 and self.compute_instances[0].slices == self.profile.slices:
            return self.compute_instances[0]
        return None


@dataclass(frozen=True)
class Gpu:
    """One healthy GPU. `pci_bus_id` is in Kubernetes' form (0000:65:00.0), `pci_device_id` in mig-parted's (0x20B010DE)."""

    index: int
    minor: int
    uuid: str
    product_name: str
    brand: str
    architecture: str
    cuda_compute_capability: str
    pci_bus_id: str
    pci_device_id: str
    memory_bytes: int | None
    addressing_mode: str | None
    mig_mode: MigMode | None
    instances: tuple[GpuInstance, ...]


@dataclass(frozen=True)
class GpuFailure:
    """A GPU that NVML lists but cannot describe."""

    index: int
    reason: str
