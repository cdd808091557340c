"""What happens to GPUs from outside NVML: reset, reboot, loss, XID errors, slowness, clients.

Owns the calls to the installed `nvml-sim`, which shares its locking with the library; so all of this may be done while
drivers and workloads use the GPUs. It never edits the state itself.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from gpu_sandbox.gpus.driver_root import DriverRoot


class ControlError(RuntimeError):
    """The simulator refused; the text says why."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ComputeInstance(_Model):
    id: int
    profile: str
    uuid: str
    holder: int


class GpuInstance(_Model):
    id: int
    profile: str
    start: int
    size: int
    compute_instances: tuple[ComputeInstance, ...]


class SimulatedGpu(_Model):
    """One GPU's present state. `holder` is the pid of a pretended client, 0 for none."""

    index: int
    minor: int
    product_name: str
    memory_mib: int
    mig_capable: bool
    mig_current: bool
    mig_pending: bool
    lost: bool
    numa_node: int
    compute_mode: int
    timeslice: int
    holder: int
    pci_bus_id: str
    uuid: str
    gpu_instances: tuple[GpuInstance, ...]


class SimulatedNode(_Model):
    simulated: bool
    driver_version: str
    call_latency_us: int
    mig_latency_us: int
    gpus: tuple[SimulatedGpu, ...]


def read(root: Path) -> SimulatedNode:
    """The state of all GPUs, whatever device nodes this process may open."""
    return SimulatedNode.model_validate(json.loads(_run(root, ["list"])))


def reset(root: Path, gpu: int) -> None:
    """As `nvidia-smi --gpu-reset`: instances vanish, a pending MIG mode takes effect, a lost GPU comes back."""
    _run(root, ["reset", gpu])


def reboot(root: Path) -> None:
    """As a reboot of the node: all instances vanish, pending modes take effect, modes that do not last are gone."""
    _run(root, ["reboot"])


def lose(root: Path, gpu: int) -> None:
    """The GPU falls off the bus: XID 79, then every call on it answers GPU_IS_LOST."""
    _run(root, ["lose", gpu])


def inject_xid(root: Path, gpu: int, code: int, *, gi: int | None = None, ci: int | None = None) -> None:
    """Reports an XID error of the GPU, or of one of its compute instances."""
    _run(root, ["xid", gpu, code, *_instance(gi, ci)])


def set_latency(root: Path, call_us: int = 0, mig_us: int = 0) -> None:
    """Every NVML call takes `call_us` microseconds longer, every MIG change `mig_us` more."""
    _run(root, ["latency", call_us, mig_us])


def hold(root: Path, gpu: int, pid: int, *, gi: int | None = None, ci: int | None = None) -> None:
    """Pretends that process `pid` uses the GPU or MIG device, so that changing it answers IN_USE. Pid 0 ends it."""
    _run(root, ["hold", gpu, pid, *_instance(gi, ci)])


def _instance(gi: int | None, ci: int | None) -> list[int]:
    if (gi is None) != (ci is None):
        raise ControlError("a MIG device is named by both its GPU instance and its compute instance")
    return [] if gi is None or ci is None else [gi, ci]


def _run(root: Path, arguments: Sequence[str | int]) -> str:
    driver_root = DriverRoot(root)
    if not driver_root.installed:
        raise ControlError(f"no simulated GPUs in {root}; `sandbox up` installs them")
    command = [str(driver_root.admin), str(driver_root.state), *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise ControlError(run.stderr.strip().removeprefix("nvml-sim: "))
    return run.stdout
