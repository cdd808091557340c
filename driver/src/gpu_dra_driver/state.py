"""What a claim's devices are on this node: the decisions of preparing and unpreparing.

Owns the order of events that makes both idempotent and safe against a crash at any point: intent to the checkpoint, then the
effect (the CDI spec), then the result to the checkpoint. A device is never given to two claims. Effects themselves live in
`cdi` and `checkpoint`; GPUs are only looked at, through `hardware`.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from gpu_dra_driver import DRIVER_NAME
from gpu_dra_driver.cdi import SpecBuilder, SpecFiles
from gpu_dra_driver.checkpoint import Checkpoint, ClaimRecord, Phase, PreparedDevice
from gpu_dra_driver.claims import Claim, ClaimRef, ConfigError, Result, check_configs
from gpu_dra_driver.discovery import MissingDeviceError
from gpu_dra_driver.hardware import Hardware, gpu_lock
from gpu_dra_driver.inventory import Device
from gpu_dra_driver.locks import KeyedLocks, ProcessLock
from gpu_dra_driver.nvml import NvmlError

log = logging.getLogger(__name__)

UNKNOWN_BOOT = ""
"""Boot id of a record rebuilt without its checkpoint: it holds its devices, and its effects are made anew when asked for."""

STALE_AFTER_SECONDS = 300.0
"""How long a claim must be gone from the API before its devices are released here. A pod deleted by force leaves its containers
running for a while; kubelet unprepares when they have stopped, and only if it cannot does this grace come to its end."""

HANDOVER_SECONDS = 15.0
"""How long a prepare waits for a device whose last claim the API has already let go of, but kubelet has not unprepared: the pod was
deleted by force. A refusal would cost more: kubelet tries a pod again only at its next sync, by default after a minute or more. The
call itself may take 45 s."""

_HANDOVER_POLL_SECONDS = 0.25

_CLAIM_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}")


class PrepareError(Exception):
    """A claim cannot be prepared; the text is shown to the user as an event of the pod."""


class HeldError(PrepareError):
    """Another claim, `holder`, is prepared on a device that this one needs."""

    def __init__(self, text: str, holder: ClaimRecord) -> None:
        super().__init__(text)
        self.holder = holder


class ClaimReader(Protocol):
    """The part of the API that claims are read from."""

    def get_claim(self, namespace: str, name: str) -> Claim | None:
        """The claim, or None if there is none of this name."""

    def claims(self) -> list[Claim]:
        """All claims of the cluster."""


class NodeState:
    """The claims of this node. Its methods may be called from any thread."""

    def __init__(
        self,
        *,
        pool: str,
        boot_id: str,
        api: ClaimReader,
        hardware: Hardware,
        specs: SpecBuilder,
        spec_files: SpecFiles,
        checkpoint: Checkpoint,
        process_lock: ProcessLock,
        locks: KeyedLocks,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pool = pool
        self._boot_id = boot_id
        self._api = api
        self._hardware = hardware
        self._specs = specs
        self._spec_files = spec_files
        self._checkpoint = checkpoint
        self._process_lock = process_lock
        self._locks = locks
        self._clock = clock
        self._sleep = sleep
        self._missing_since: dict[str, float] = {}

    def prepare(self, ref: ClaimRef) -> tuple[PreparedDevice, ...]:
        """Makes the claim's devices usable by containers. Safe to repeat. Raises PrepareError.

        Waits up to HANDOVER_SECONDS for a device whose holder is on its way out, with no lock held.
        """
        patience = int(HANDOVER_SECONDS / _HANDOVER_POLL_SECONDS)
        while True:
            try:
                return self._prepare_now(ref)
            except HeldError as error:
                if patience == 0 or self._allocated_here(error.holder):
                    raise
            patience -= 1
            self._sleep(_HANDOVER_POLL_SECONDS)

    def _prepare_now(self, ref: ClaimRef) -> tuple[PreparedDevice, ...]:
        try:
            with self._process_lock.holding():
                claim = self._read(ref)
                results = self._results(claim)
                with self._locks.holding([f"claim/{claim.uid}"]):
                    return self._prepare(claim, results) if results else ()
        except (ConfigError, MissingDeviceError, NvmlError, OSError) as error:
            raise PrepareError(str(error)) from error

    def unprepare(self, ref: ClaimRef) -> None:
        """Takes back what `prepare` did, from local state alone: the claim may be gone from the API. Safe to repeat."""
        if not _CLAIM_UID.fullmatch(ref.uid):
            raise PrepareError(f"{ref.uid!r} is not a claim UID")
        with self._process_lock.holding():
            self._release(ref.uid)

    def held_gpus(self) -> set[str]:
        """UUIDs of the GPUs that prepared claims hold. What an earlier boot prepared holds nothing: no container survived."""
        alive = (record for record in self._checkpoint.records() if record.boot_id in {self._boot_id, UNKNOWN_BOOT})
        return {device.gpu_uuid for record in alive for device in record.devices}

    def promised_gpus(self) -> set[str]:
        """UUIDs of the GPUs of which the API has allocated a device to some claim."""
        names = {result.device for claim in self._api.claims() for result in claim.ours(self._pool)}
        devices = self._hardware.inventory.devices
        return {devices[name].gpu_uuid for name in names if name in devices}

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keeps the other driver process of a rolling update out."""
        with self._process_lock.holding():
            yield

    def prepared_by_kind(self) -> dict[str, int]:
        """Number of prepared devices by type, for metrics."""
        counts = {"gpu": 0, "mig": 0}
        for record in self._checkpoint.records():
            for device in record.devices:
                counts[device.kind] = counts.get(device.kind, 0) + 1
        return counts

    def sweep(self) -> None:
        """Releases claims that are gone from the API, that kubelet can therefore never ask to unprepare by itself.

        Raises whatever the API client raises when the API cannot be reached; nothing is released then.
        """
        with self._process_lock.holding():
            for record in self._checkpoint.records():
                if self._allocated_here(record):
                    self._missing_since.pop(record.uid, None)
                    continue
                since = self._missing_since.setdefault(record.uid, self._clock())
                earlier_boot = record.boot_id not in {self._boot_id, UNKNOWN_BOOT}
                if earlier_boot or self._clock() - since >= STALE_AFTER_SECONDS:
                    log.warning("releasing stale claim %s: it is gone from the API or no longer allocated here", record)
                    self._release(record.uid)

    def _allocated_here(self, record: ClaimRecord) -> bool:
        """Whether the API still has this very claim with a device of this node."""
        claim = self._api.get_claim(record.namespace, record.name)
        return claim is not None and claim.uid == record.uid and bool(claim.ours(self._pool))

    def _read(self, ref: ClaimRef) -> Claim:
        claim = self._api.get_claim(ref.namespace, ref.name)
        if claim is None:
            raise PrepareError(f"there is no ResourceClaim {ref.namespace}/{ref.name}")
        if claim.uid != ref.uid or not _CLAIM_UID.fullmatch(claim.uid):
            raise PrepareError(f"claim {ref.namespace}/{ref.name} got replaced: its UID is {claim.uid}")
        if not claim.allocated:
            raise PrepareError("claim not yet allocated")
        return claim

    def _results(self, claim: Claim) -> tuple[Result, ...]:
        results = claim.ours(self._pool)
        elsewhere = sorted({result.pool for result in claim.results if result.driver == DRIVER_NAME} - {self._pool})
        if not results and elsewhere:
            raise PrepareError(f"its devices are in pool {', '.join(elsewhere)}; this driver serves pool {self._pool}")
        return results

    def _prepare(self, claim: Claim, results: Sequence[Result]) -> tuple[PreparedDevice, ...]:
        first_look = [
            self._hardware.inventory.devices.get(result.device) or self._device(result.device) for result in results
        ]
        with self._locks.holding(gpu_lock(device.gpu_uuid) for device in first_look):
            devices = [self._device(result.device) for result in results]
            prepared = tuple(_prepared(result, device) for result, device in zip(results, devices, strict=True))
            check_configs(claim.configs, [(device.request, device.kind) for device in prepared])
            before = self._checkpoint.get(claim.uid)
            if before is not None and _names(before.devices) != _names(prepared):
                old = ", ".join(device.name for device in before.devices)
                log.warning("claim %s was allocated anew: releasing %s", before, old)
                self._release(claim.uid)
                before = None
            record = ClaimRecord(claim.uid, claim.namespace, claim.name, Phase.COMPLETED, self._boot_id, prepared)
            if before == record:
                if not self._spec_files.exists(claim.uid):
                    log.warning("claim %s: its CDI spec is lost, writing it again", record)
                    self._spec_files.write(claim.uid, self._specs.claim(claim.uid, devices))
                return prepared
            self._refuse_double_use(record)
            self._make_effects(record, devices)
        return prepared

    def _make_effects(self, record: ClaimRecord, devices: Sequence[Device]) -> None:
        self._checkpoint.put(replace(record, phase=Phase.STARTED))
        try:
            self._spec_files.write(record.uid, self._specs.claim(record.uid, devices))
        except Exception:
            self._release(record.uid)
            raise
        self._checkpoint.put(record)

    def _device(self, name: str) -> Device:
        device = self._hardware.find(name)
        if device is None:
            raise PrepareError(
                f'allocatable not found for device "{name}": it is not on this node (any more); delete the pod to get another'
            )
        return device

    def _refuse_double_use(self, record: ClaimRecord) -> None:
        for other in self._checkpoint.records():
            if other.uid == record.uid:
                continue
            for mine in record.devices:
                if any(_conflict(mine, theirs) for theirs in other.devices):
                    raise HeldError(
                        f"requested device {mine.name} is already allocated to different claim {other.uid} "
                        f"({other.namespace}/{other.name}), which is not unprepared yet",
                        other,
                    )

    def _release(self, uid: str) -> None:
        # The spec goes first: a crash in between leaves a record, whose claim is unprepared again or swept.
        self._spec_files.remove(uid)
        self._checkpoint.delete(uid)
        self._missing_since.pop(uid, None)


def _prepared(result: Result, device: Device) -> PreparedDevice:
    return PreparedDevice(
        request=result.request,
        pool=result.pool,
        name=device.name,
        kind=device.kind,
        uuid=device.uuid,
        gpu_uuid=device.gpu_uuid,
        admin=result.admin,
        share_id=result.share_id,
    )


def _names(devices: Sequence[PreparedDevice]) -> set[tuple[str, str, str | None]]:
    return {(device.request, device.name, device.share_id) for device in devices}


def _conflict(mine: PreparedDevice, theirs: PreparedDevice) -> bool:
    if mine.admin or theirs.admin:  # administrative access looks at a device and takes nothing from its holder
        return False
    if mine.name == theirs.name:
        return mine.share_id is None or theirs.share_id is None
    # A GPU's partitions are disjoint by construction; the whole GPU overlaps each of them.
    return bool(mine.gpu_uuid) and mine.gpu_uuid == theirs.gpu_uuid and mine.kind != theirs.kind
