"""Static MIG: making a GPU's partitions what the declared layout says, at the places it says.

Owns the comparison of a wanted layout with what exists and the order of the changes. It touches only the GPU it is given and
knows nothing of claims: whoever calls `apply` has made sure that no claim holds the GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpu_dra_driver.gpus import Gpu, GpuInstance
from gpu_dra_driver.nvml import Nvml, NvmlError

log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class WantedInstance:
    """A GPU instance that the layout declares; `start` and `size` in units of the GPU's memory grid."""

    start: int
    size: int
    profile_id: int
    slices: int
    profile: str


@dataclass(frozen=True)
class WantedLayout:
    """What one GPU shall be. `toggles_at_once`: MIG mode changes without a reset of the GPU (Hopper and newer)."""

    mig_enabled: bool
    toggles_at_once: bool
    instances: tuple[WantedInstance, ...]


@dataclass(frozen=True)
class Plan:
    """The changes that turn what exists into what is wanted."""

    set_mode: bool | None = None
    destroy: tuple[GpuInstance, ...] = ()
    complete: tuple[GpuInstance, ...] = ()
    """GPU instances of the right place and profile that a crash left without their compute instance."""
    create: tuple[WantedInstance, ...] = ()

    @property
    def nothing_to_do(self) -> bool:
        """Whether the GPU is as wanted."""
        return self.set_mode is None and not (self.destroy or self.complete or self.create)

    @property
    def destructive(self) -> bool:
        """Whether it takes anything away that a claim could have been promised."""
        return self.set_mode is not None or bool(self.destroy)


class ModePendingError(Exception):
    """The layout needs another MIG mode, which this GPU takes only with a reset: not done while the node runs."""


class MigNotSupportedError(Exception):
    """The layout asks for MIG on a GPU that has none."""


def plan(gpu: Gpu, wanted: WantedLayout) -> Plan:
    """What to change on `gpu`. Raises ModePendingError or MigNotSupportedError when the layout cannot be had by changing partitions."""
    if gpu.mig_mode is None:
        if wanted.mig_enabled:
            raise MigNotSupportedError(f"{gpu.product_name} has no MIG, but the layout wants it enabled")
        return Plan()
    if gpu.mig_mode.current != wanted.mig_enabled:
        if not wanted.toggles_at_once:
            verb = "on" if wanted.mig_enabled else "off"
            pending = (
                "it is already pending"
                if gpu.mig_mode.pending == wanted.mig_enabled
                else f"set it with nvidia-smi -i {gpu.index} -mig {int(wanted.mig_enabled)}"
            )
            raise ModePendingError(
                f"the layout needs MIG mode {verb}, and {gpu.product_name} changes it only with a reset, which this driver never "
                f"does on a running node: {pending}, then reboot the node. Until then the GPU is published as it is"
            )  # fmt: skip
        destroy = () if wanted.mig_enabled else gpu.instances
        return Plan(set_mode=wanted.mig_enabled, destroy=destroy, create=wanted.instances)
    missing = set(wanted.instances)
    destroy_list: list[GpuInstance] = []
    complete: list[GpuInstance] = []
    for instance in gpu.instances:
        match = next((each for each in missing if _same_place(instance, each)), None)
        if match is not None and instance.whole_compute_instance is not None:
            missing.remove(match)
        elif match is not None and not instance.compute_instances:
            missing.remove(match)
            complete.append(instance)
        else:
            destroy_list.append(instance)
    return Plan(destroy=tuple(destroy_list), complete=tuple(complete), create=tuple(sorted(missing)))


def _same_place(instance: GpuInstance, wanted: WantedInstance) -> bool:
    return (instance.profile.id, instance.start) == (wanted.profile_id, wanted.start)


def apply(nvml: Nvml, gpu: Gpu, changes: Plan) -> None:
    """Carries out `changes`. Raises NvmlError; what was made until then stays, is valid, and is counted in by the next plan."""
    uuid = gpu.uuid
    for instance in changes.destroy:
        log.info("GPU %d: destroying %s at unit %d", gpu.index, instance.profile.name, instance.start)
        nvml.destroy_gpu_instance(uuid, instance.id)
    if changes.set_mode is not None:
        log.info("GPU %d: switching MIG mode %s", gpu.index, "on" if changes.set_mode else "off")
        nvml.set_mig_mode(uuid, enabled=changes.set_mode)
    for instance in changes.complete:
        nvml.create_whole_compute_instance(uuid, instance.id, instance.profile.slices)
    for wanted in changes.create:
        log.info("GPU %d: creating %s at unit %d", gpu.index, wanted.profile, wanted.start)
        create(nvml, uuid, wanted)


def create(nvml: Nvml, uuid: str, wanted: WantedInstance) -> None:
    """One GPU instance with its whole compute instance; when the second cannot be had, the first is taken back."""
    gi_id = nvml.create_gpu_instance(uuid, wanted.profile_id, wanted.start, wanted.size)
    try:
        nvml.create_whole_compute_instance(uuid, gi_id, wanted.slices)
    except NvmlError:
        nvml.destroy_gpu_instance(uuid, gi_id)
        raise


def describe(instances: Iterable[GpuInstance] | Sequence[WantedInstance]) -> str:
    """`3g.20gb@0 1g.5gb@4`, for messages."""
    parts = sorted(
        (each.start, each.profile if isinstance(each, WantedInstance) else each.profile.name) for each in instances
    )
    return " ".join(f"{name}@{start}" for start, name in parts) or "nothing"
