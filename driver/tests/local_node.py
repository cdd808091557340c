"""A node's state in this process: the real parts over simulated GPUs, with claims from a list instead of an API server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gpu_dra_driver import DRIVER_NAME
from gpu_dra_driver.cdi import SpecBuilder, SpecFiles
from gpu_dra_driver.checkpoint import Checkpoint
from gpu_dra_driver.claims import Claim, ClaimRef, OpaqueConfig, Result
from gpu_dra_driver.discovery import DeviceNodes, discover, find_library
from gpu_dra_driver.hardware import Hardware
from gpu_dra_driver.locks import KeyedLocks, ProcessLock
from gpu_dra_driver.nvml import Nvml
from gpu_dra_driver.paths import Root
from gpu_dra_driver.recovery import recover
from gpu_dra_driver.state import NodeState
from tests.simulated_gpus import SimulatedGpus

POOL = "node-a"


def claim(*devices: tuple[str, str], uid: str = "", **options: object) -> Claim:
    """An allocated claim of (request, device) pairs. Options: admin, shares (share ids), configs, name, pool."""
    uid = uid or str(uuid.uuid4())
    shares: dict[str, str] = dict(options.get("shares", {}))  # type: ignore[call-overload]
    pool = str(options.get("pool", POOL))
    admin = bool(options.get("admin"))
    results = tuple(
        Result(request, DRIVER_NAME, pool, device, admin, shares.get(device)) for request, device in devices
    )
    configs: tuple[OpaqueConfig, ...] = tuple(options.get("configs", ()))  # type: ignore[arg-type]
    return Claim(uid, "default", str(options.get("name", f"claim-{uid[:8]}")), results, configs, allocated=True)


def ref(wanted: Claim) -> ClaimRef:
    """The claim as kubelet names it."""
    return ClaimRef(wanted.namespace, wanted.name, wanted.uid)


@dataclass
class ClaimList:
    """Claims by namespace and name, as an API server keeps them."""

    kept: dict[tuple[str, str], Claim] = field(default_factory=dict)

    def add(self, wanted: Claim) -> Claim:
        self.kept[wanted.namespace, wanted.name] = wanted
        return wanted

    def remove(self, gone: Claim) -> None:
        del self.kept[gone.namespace, gone.name]

    def deallocate(self, wanted: Claim) -> None:
        self.add(replace(wanted, allocated=False, results=()))

    def get_claim(self, namespace: str, name: str) -> Claim | None:
        return self.kept.get((namespace, name))

    def claims(self) -> list[Claim]:
        return list(self.kept.values())


class LocalNode:
    """Everything below the gRPC face, on one folder. Making another on the same folder is a restart of the driver."""

    def __init__(
        self,
        folder: Path,
        gpus: SimulatedGpus,
        claims: ClaimList | None = None,
        *,
        boot_id: str = "boot-1",
        layout: str = "",
    ) -> None:
        self.gpus = gpus
        self.claims = claims or ClaimList()
        self.now = 0.0
        self.while_waiting: Callable[[], None] = lambda: None
        root = Root(gpus.root, gpus.root)
        nodes = DeviceNodes(root, gpus.root / "proc/driver/nvidia", gpus.root / "proc/devices", gpus.root / "sys")
        locks = KeyedLocks()
        self.nvml = Nvml(find_library(gpus.root))
        self.hardware = Hardware(self.nvml, gpus.root / "sys", locks)
        self.hardware.declare(layout, None)
        folder.mkdir(exist_ok=True)
        self.checkpoint = Checkpoint(folder / "checkpoint.json", boot_id)
        self.spec_files = SpecFiles(folder / "cdi")
        process_lock = ProcessLock(folder / "serialize.lock")
        self.state = NodeState(
            pool=POOL,
            boot_id=boot_id,
            api=self.claims,
            hardware=self.hardware,
            specs=SpecBuilder(root, discover(root, self.hardware.driver_version), nodes),
            spec_files=self.spec_files,
            checkpoint=self.checkpoint,
            process_lock=process_lock,
            locks=locks,
            clock=lambda: self.now,
            sleep=lambda _seconds: self.while_waiting(),
        )
        recover(
            checkpoint=self.checkpoint,
            spec_files=self.spec_files,
            api=self.claims,
            pool=POOL,
            devices=self.hardware.inventory.devices,
        )
        process_lock.on_entering(self.checkpoint.load_if_changed)

    def apply_layout(self) -> bool:
        """Applies the declared layout to free GPUs."""
        return self.hardware.apply_layout(self.state.held_gpus, self.state.promised_gpus)

    def prepare(self, wanted: Claim) -> list[str]:
        """Adds the claim to the list, prepares it, and returns the names of its devices."""
        self.claims.add(wanted)
        return [device.name for device in self.state.prepare(ref(wanted))]

    def unprepare(self, wanted: Claim) -> None:
        self.state.unprepare(ref(wanted))

    def prepared(self) -> dict[str, set[str]]:
        """Names of the devices of each claim in the checkpoint."""
        return {record.uid: {device.name for device in record.devices} for record in self.checkpoint.records()}

    def specs(self) -> set[str]:
        """UIDs of the claims that have a CDI spec."""
        return set(self.spec_files.claims())


def names(node: LocalNode) -> list[str]:
    """The devices on offer."""
    return list(node.hardware.inventory.devices)


def uids(claims: Iterable[Claim]) -> set[str]:
    return {each.uid for each in claims}
