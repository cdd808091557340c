"""This node's GPUs as one thing: the NVML session, the declared layout and the current inventory.

Owns when partitions are changed (only on GPUs that no claim holds, each GPU for itself) and keeps the inventory in step with
what NVML sees. It asks its caller who holds what; it never reads claims itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from gpu_dra_driver import inventory as inventories
from gpu_dra_driver import mig
from gpu_dra_driver.gpus import Gpu, GpuFailure
from gpu_dra_driver.inventory import Device, Inventory
from gpu_dra_driver.layout import NO_LAYOUT, NodeLayout, resolve
from gpu_dra_driver.locks import KeyedLocks
from gpu_dra_driver.nvml import Nvml, NvmlError

log = logging.getLogger(__name__)

APPLIED, HELD, PROMISED, PENDING, FAILED = "applied", "held", "promised", "pending", "failed"


@dataclass(frozen=True)
class Outcome:
    """How the layout stands on one GPU; `message` says why it is not applied.

    Held: a prepared claim is on the GPU. Promised: the API has allocated it to a claim that is not prepared (yet, or any more).
    Pending: it takes a reset. Failed: NVML refused."""

    state: str
    message: str = ""


def gpu_lock(uuid: str) -> str:
    """Name of the lock that guards one GPU's partitions."""
    return f"gpu/{uuid}"


class Hardware:
    """The GPUs of this node. Its methods may be called from any thread."""

    def __init__(self, nvml: Nvml, sysfs: Path, locks: KeyedLocks) -> None:
        self._nvml = nvml
        self._sysfs = sysfs
        self._locks = locks
        self._refreshing = threading.Lock()
        self._gpus: tuple[Gpu | GpuFailure, ...] = ()
        self._layout: NodeLayout = NO_LAYOUT
        self.driver_version = nvml.driver_version()
        self._cuda_version = nvml.cuda_driver_version()
        self.inventory: Inventory = inventories.EMPTY
        self.outcomes: dict[str, Outcome] = {}
        self._reported: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Lists the GPUs anew; one that fails is left out."""
        with self._refreshing:
            self._gpus = tuple(self._nvml.gpus())
            self.inventory = inventories.build(self._gpus, self.driver_version, self._cuda_version, self._sysfs)

    def declare(self, layout_name: str, layout_file: Path | None) -> None:
        """Takes the layout that `apply_layout` shall bring about. Raises LayoutRefusedError before any GPU is touched."""
        if layout_name:
            self._layout = resolve(layout_name, layout_file, self._gpus)
            for uuid, problem in self._layout.problems.items():
                self._note(uuid, Outcome(FAILED, problem))

    @property
    def unfinished(self) -> bool:
        """Whether some GPU is not yet as declared."""
        return any(outcome.state != APPLIED for outcome in self.outcomes.values())

    @property
    def waits_for_the_api(self) -> bool:
        """Whether some GPU waits only for a claim's allocation to go, of which nobody tells this driver."""
        return any(outcome.state == PROMISED for outcome in self.outcomes.values())

    def apply_layout(self, held: Callable[[], AbstractSet[str]], promised: Callable[[], AbstractSet[str]]) -> bool:
        """Makes each free GPU what the layout says; True if anything was changed.

        From two kinds of GPU nothing is taken away: `held` gives those that prepared claims hold, `promised` those of which the
        API has allocated a device that is not prepared yet. Partitions that are missing on them are added.
        """
        changed = False
        for gpu in self._gpus:
            wanted = None if isinstance(gpu, GpuFailure) else self._layout.wanted.get(gpu.uuid)
            if isinstance(gpu, GpuFailure) or wanted is None:
                continue
            try:
                outcome, did = self._apply_to(gpu, wanted, held, promised)
            except (mig.ModePendingError, mig.MigNotSupportedError) as error:
                outcome, did = (
                    Outcome(PENDING if isinstance(error, mig.ModePendingError) else FAILED, str(error)),
                    False,
                )
            except NvmlError as error:
                outcome, did = Outcome(FAILED, f"the layout is only partly applied: {error}"), True
            self._note(gpu.uuid, outcome)
            changed |= did
        if changed:
            self.refresh()
        self._report()
        return changed

    def _report(self) -> None:
        """Says once of each GPU that offers nothing why: after the layout, which is what most empty GPUs are waiting for."""
        problems = dict(self.inventory.problems)
        for gpu, problem in problems.items():
            if self._reported.get(gpu) != problem:
                log.warning("%s offers no device: %s", gpu, problem)
        self._reported = problems

    def _apply_to(
        self,
        gpu: Gpu,
        wanted: mig.WantedLayout,
        held: Callable[[], AbstractSet[str]],
        promised: Callable[[], AbstractSet[str]],
    ) -> tuple[Outcome, bool]:
        if mig.plan(gpu, wanted).nothing_to_do:
            return Outcome(APPLIED), False
        with self._locks.holding([gpu_lock(gpu.uuid)]):
            fresh = self._nvml.gpu(gpu.uuid)
            changes = mig.plan(fresh, wanted)
            # What only adds is done on a held GPU too: after a reboot that brings back the very partitions the claims hold.
            if changes.destructive and gpu.uuid in held():
                return Outcome(
                    HELD, "a prepared claim holds this GPU; the layout is applied when it is released"
                ), False
            if changes.destructive and gpu.uuid in promised():
                return Outcome(
                    PROMISED, "a claim is allocated on this GPU; the layout is applied when it is not"
                ), False
            mig.apply(self._nvml, fresh, changes)
        log.info("GPU %d: layout applied: %s", gpu.index, mig.describe(wanted.instances))
        return Outcome(APPLIED), not changes.nothing_to_do

    def _note(self, uuid: str, outcome: Outcome) -> None:
        if outcome.state != APPLIED and self.outcomes.get(uuid) != outcome:
            log.warning("GPU %s: MIG layout %s: %s", uuid, outcome.state, outcome.message)
        self.outcomes[uuid] = outcome

    def find(self, name: str) -> Device | None:
        """The device of this name as it is now; looks at the GPU itself, since the inventory is a memory.

        Lists the GPUs anew when the memory is wrong. None if there is no such device (any more). Raises NvmlError when the GPU fails.
        """
        device = self.inventory.devices.get(name)
        if device is not None and self._is_current(device):
            return device
        self.refresh()
        return self.inventory.devices.get(name)

    def _is_current(self, device: Device) -> bool:
        if device.partition is None:
            mode = self._nvml.mig_mode(device.gpu_uuid)
            return mode is None or not mode.current
        ids = (device.partition.gi_id, device.partition.ci_id)
        return self._nvml.mig_device_uuid(device.gpu_uuid, *ids) == device.uuid
