"""Coming back after a crash, a reboot or a lost file: from what is on disk to a checkpoint that can be trusted.

Owns what happens once at start, before any claim is served: reading the checkpoint, setting a broken one aside and rebuilding it
from CDI specs and the API, rolling back claims that were half prepared, removing specs that belong to no claim.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from gpu_dra_driver.cdi import SpecFiles
from gpu_dra_driver.checkpoint import Checkpoint, ClaimRecord, CorruptCheckpointError, Phase, PreparedDevice
from gpu_dra_driver.claims import Claim
from gpu_dra_driver.inventory import Device
from gpu_dra_driver.state import UNKNOWN_BOOT, ClaimReader

log = logging.getLogger(__name__)


def recover(
    *, checkpoint: Checkpoint, spec_files: SpecFiles, api: ClaimReader, pool: str, devices: Mapping[str, Device]
) -> None:
    """Leaves checkpoint and CDI specs in agreement. Reads the API only if the checkpoint must be rebuilt."""
    spec_files.remove_leftovers()
    try:
        checkpoint.load()
        # Specs without a checkpoint: it was lost, or another driver wrote them. Their pods may well be running.
        rebuild = not checkpoint.exists() and bool(spec_files.claims())
    except CorruptCheckpointError as error:
        aside = checkpoint.quarantine()
        reason = f"checkpoint failed checksum verification or cannot be read: {error}"
        log.error("%s; kept as %s, rebuilding it", reason, aside)  # noqa: TRY400 - the reason is in the text
        rebuild = True
    if rebuild:
        _rebuild(checkpoint, spec_files, api, pool, devices)
    for record in checkpoint.records():
        if record.phase is Phase.STARTED:
            log.warning(
                "claim %s was only half prepared: rolling it back; kubelet asks again if it still wants it", record
            )
            spec_files.remove(record.uid)
            checkpoint.delete(record.uid)
    known = {record.uid for record in checkpoint.records()}
    for uid in spec_files.claims():
        if uid not in known:
            log.warning("removing the CDI spec of unknown claim %s", uid)
            spec_files.remove(uid)
    if not checkpoint.exists():
        checkpoint.put()  # the file shows that this driver works here; later, its absence means it was lost


def _rebuild(
    checkpoint: Checkpoint, spec_files: SpecFiles, api: ClaimReader, pool: str, devices: Mapping[str, Device]
) -> None:
    """A claim with a CDI spec was prepared here; the API still knows what it was given."""
    claims = {claim.uid: claim for claim in api.claims()}
    records = [
        _record(claims[uid], pool, devices) for uid in spec_files.claims() if uid in claims and claims[uid].ours(pool)
    ]
    checkpoint.put(*records)
    log.warning("rebuilt the checkpoint: %d claims found", len(records))


def _record(claim: Claim, pool: str, devices: Mapping[str, Device]) -> ClaimRecord:
    prepared = []
    for result in claim.ours(pool):
        device = devices.get(result.device)
        prepared.append(
            PreparedDevice(
                request=result.request,
                pool=result.pool,
                name=result.device,
                kind=device.kind if device else ("mig" if "-mig-" in result.device else "gpu"),
                uuid=device.uuid if device else "",
                gpu_uuid=device.gpu_uuid if device else "",
                admin=result.admin,
                share_id=result.share_id,
            )
        )
    return ClaimRecord(claim.uid, claim.namespace, claim.name, Phase.COMPLETED, UNKNOWN_BOOT, tuple(prepared))
