"""`sandbox gpus`: look at the simulated GPUs and let things happen to them.

Owns the command line only; every command is one function of `gpu_sandbox.gpus.control`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from gpu_sandbox.gpus import control
from gpu_sandbox.gpus.driver_root import DriverRoot
from gpu_sandbox.settings import DEFAULT_STATE_DIR, STATE_DIR_ENV, StatePaths

app = typer.Typer(no_args_is_help=True, help="Simulated GPUs: list, reset, reboot, faults, nvidia-smi.")

Result = TypeVar("Result")

StateDir = Annotated[
    Path,
    typer.Option("--state-dir", envvar=STATE_DIR_ENV, help="Where the sandbox keeps its state."),
]
GpuIndex = Annotated[int, typer.Argument(min=0, help="Index of the GPU, from 0.")]
GiOption = Annotated[int | None, typer.Option("--gi", help="GPU instance id of a MIG device.")]
CiOption = Annotated[int | None, typer.Option("--ci", help="Compute instance id of a MIG device.")]


@app.command("list")
def list_gpus(state_dir: StateDir = DEFAULT_STATE_DIR) -> None:
    """Every GPU with its mode, partitions and faults."""
    node = _checked(lambda: control.read(_root(state_dir)))
    table = Table("GPU", "Product", "PCI", "MIG", "Partitions (GI: profile @ start)", "State", title="Simulated GPUs")
    for gpu in node.gpus:
        table.add_row(
            str(gpu.index), gpu.product_name, gpu.pci_bus_id, _mode(gpu), _partitions(gpu), "lost" if gpu.lost else "ok"
        )
    Console().print(table)
    if node.call_latency_us or node.mig_latency_us:
        typer.echo(f"Latency: {node.call_latency_us} us per call, {node.mig_latency_us} us more per MIG change")


@app.command()
def reset(gpu: GpuIndex, state_dir: StateDir = DEFAULT_STATE_DIR) -> None:
    """Reset a GPU: its partitions vanish, a pending MIG mode takes effect, a lost GPU comes back."""
    _checked(lambda: control.reset(_root(state_dir), gpu))


@app.command()
def reboot(state_dir: StateDir = DEFAULT_STATE_DIR) -> None:
    """What a reboot does to the GPUs: all partitions vanish. Restarts nothing else."""
    _checked(lambda: control.reboot(_root(state_dir)))


@app.command()
def lose(gpu: GpuIndex, state_dir: StateDir = DEFAULT_STATE_DIR) -> None:
    """Let a GPU fall off the bus (XID 79) until it is reset."""
    _checked(lambda: control.lose(_root(state_dir), gpu))


@app.command()
def xid(
    gpu: GpuIndex,
    code: Annotated[int, typer.Argument(min=1, help="XID number, for example 48 or 79.")],
    gi: GiOption = None,
    ci: CiOption = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
) -> None:
    """Report an XID error of a GPU or of one MIG device."""
    _checked(lambda: control.inject_xid(_root(state_dir), gpu, code, gi=gi, ci=ci))


@app.command()
def latency(
    call: Annotated[int, typer.Option(min=0, help="Microseconds added to every NVML call.")] = 0,
    mig: Annotated[int, typer.Option(min=0, help="Microseconds added to every MIG change besides.")] = 0,
    state_dir: StateDir = DEFAULT_STATE_DIR,
) -> None:
    """Make NVML slow; without options, fast again."""
    _checked(lambda: control.set_latency(_root(state_dir), call, mig))


@app.command()
def hold(
    gpu: GpuIndex,
    pid: Annotated[int, typer.Argument(min=0, help="Process that uses it; 0 ends the pretence.")],
    gi: GiOption = None,
    ci: CiOption = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
) -> None:
    """Pretend that a process uses a GPU or MIG device, so that changing it answers "in use"."""
    _checked(lambda: control.hold(_root(state_dir), gpu, pid, gi=gi, ci=ci))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def smi(context: typer.Context, state_dir: StateDir = DEFAULT_STATE_DIR) -> None:
    """Run the simulated nvidia-smi: `sandbox gpus smi -- mig -lgi`."""
    driver_root = DriverRoot(_root(state_dir))
    if not driver_root.installed:
        _fail(f"no simulated GPUs in {driver_root.path}; `sandbox up` installs them")
    environment = {**os.environ, **driver_root.environment()}
    run = subprocess.run([str(driver_root.nvidia_smi), *context.args], env=environment, check=False)
    raise typer.Exit(run.returncode)


def _root(state_dir: Path) -> Path:
    return StatePaths(state_dir).driver_root


def _checked(action: Callable[[], Result]) -> Result:
    try:
        return action()
    except control.ControlError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    typer.echo(f"sandbox gpus: {message}", err=True)
    raise typer.Exit(1)


def _mode(gpu: control.SimulatedGpu) -> str:
    if not gpu.mig_capable:
        return "none"
    names = {True: "on", False: "off"}
    if gpu.mig_current == gpu.mig_pending:
        return names[gpu.mig_current]
    return f"{names[gpu.mig_current]}, {names[gpu.mig_pending]} after a reset"


def _partitions(gpu: control.SimulatedGpu) -> str:
    parts = []
    for gi in gpu.gpu_instances:
        held = "".join(f" (pid {ci.holder})" for ci in gi.compute_instances if ci.holder)
        empty = "" if gi.compute_instances else " (no compute instance)"
        parts.append(f"{gi.id}: {gi.profile} @ {gi.start}{held}{empty}")
    return "\n".join(parts)
