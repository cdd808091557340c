"""Brings a sandbox up and down, from the host's side: checks, files, and the supervisor's start.

Every step may be interrupted and run again. What the supervisor does once it runs is its own business.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from gpu_sandbox import cleanup, pki, preflight, readiness, status, supervisor_control
from gpu_sandbox.components import pause_image
from gpu_sandbox.errors import SandboxError
from gpu_sandbox.readiness import Progress
from gpu_sandbox.settings import (
    INNER_API_PORT,
    Extent,
    Settings,
    StatePaths,
    binaries,
    new_sandbox_id,
    read_settings,
    write_settings,
)
from gpu_sandbox.state_lock import locked
from gpu_sandbox.supervisor_control import NotRunning, Report
from gpu_sandbox.supervisor_plan import Overall, State

_POLL_SECONDS = 0.05
_STOP_TIMEOUT = 40.0


class NoSandboxError(SandboxError):
    """There is no sandbox in this state directory."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for; None means: as it is, or the default."""

    api_port: int | None = None
    board: str | None = None
    gpus: int | None = None
    mig_enabled: bool | None = None
    extent: Extent | None = None
    dns: bool | None = None

    def chosen(self) -> dict[str, object]:
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Running:
    """A sandbox that is up."""

    settings: Settings
    paths: StatePaths
    report: Report
    was_running: bool


def up(paths: StatePaths, options: Options, progress: Progress) -> Running:
    """Bring the sandbox up and wait until it is ready; does nothing to one that is.

    Raises SandboxError, as PreflightError with everything that is in the way.
    """
    problems = preflight.check_platform()
    if problems:
        raise preflight.PreflightError(problems)
    with locked(paths, "sandbox up") as lock:
        settings = _settings(paths, options)
        try:
            report = supervisor_control.status(paths.control_socket)
        except NotRunning:
            was_running = False
            _start(paths, settings, lock, progress)
        else:
            was_running = report.overall is Overall.READY
            _retry_given_up(paths, report, progress)
        report = readiness.wait(paths, progress, only_changes=was_running)
    return Running(settings, paths, report, was_running)


def down(paths: StatePaths, progress: Progress, *, keep_data: bool = False) -> bool:
    """Take the sandbox down and leave nothing of it, but its data if asked; False if there was none.

    Raises SandboxError.
    """
    problems = preflight.check_platform()
    if problems:
        raise preflight.PreflightError(problems)
    if not paths.root.exists() and not cleanup.sandbox_ids(paths):
        cleanup.remove_mount_points()
        return False
    with locked(paths, "sandbox down"):
        if not paths.settings.exists() and set(paths.root.iterdir()) - paths.before_settings:
            raise SandboxError(
                f"{paths.root} holds files but no {paths.settings.name}: it is left alone, remove it by hand"
            )
        if keep_data:
            _stop_gently(paths, progress)
        try:
            cleanup.end_processes(paths)
            cleanup.remove_mount_points()
            if keep_data:
                shutil.rmtree(paths.run, ignore_errors=True)
            else:
                cleanup.remove_state(paths)
        except OSError as error:
            raise SandboxError(f"the sandbox in {paths.root} is not gone completely: {error}") from error
    return True


def restart(paths: StatePaths, component: str, progress: Progress) -> Report:
    """Restart a component, or `node` like a reboot, and wait until everything is ready again.

    Raises SandboxError, NotRunning or Refused.
    """
    with locked(paths, f"sandbox restart {component}"):
        supervisor_control.request(
            paths.control_socket, {"command": "restart", "name": component}, timeout=_STOP_TIMEOUT
        )
        return readiness.wait(paths, progress, only_changes=True)


def running_settings(paths: StatePaths) -> Settings:
    """The settings of the sandbox in this directory. Raises NoSandboxError if there is none."""
    settings = read_settings(paths)
    if settings is None:
        raise NoSandboxError(f"there is no sandbox in {paths.root}; start one with `sandbox up`")
    return settings


# Steps of `up`.


def _settings(paths: StatePaths, options: Options) -> Settings:
    """The settings to run with; those of a running sandbox cannot be changed."""
    existing = read_settings(paths)
    chosen = options.chosen()
    if existing is None:
        return _with_board_facts(Settings(sandbox_id=new_sandbox_id(), bin_dir=binaries(), **chosen), chosen)  # type: ignore[arg-type]
    wanted = dataclasses.replace(existing, **chosen)  # type: ignore[arg-type]
    if wanted != existing:
        with contextlib.suppress(NotRunning):
            supervisor_control.supervisor_pid(paths.control_socket)
            changed = ", ".join(
                f"{name} is {getattr(existing, name)!s}, not {value!s}"
                for name, value in chosen.items()
                if getattr(existing, name) != value
            )
            raise SandboxError(
                f"the sandbox in {paths.root} runs with other settings: {changed}; run `sandbox down` first"
            )
    return _with_board_facts(dataclasses.replace(wanted, bin_dir=binaries()), chosen)


def _with_board_facts(settings: Settings, chosen: Mapping[str, object]) -> Settings:
    """Add what the catalogue knows of the board. Raises SandboxError for a board that cannot be had as asked."""
    if settings.extent is Extent.API:
        return settings
    from gpu_catalog.boards import UnknownBoardError, load_catalog  # noqa: PLC0415  only a node needs to know its GPUs

    try:
        board = load_catalog().board(settings.board)
    except UnknownBoardError as error:
        raise SandboxError(str(error)) from error
    if chosen.get("mig_enabled") and not board.mig_capable:
        raise SandboxError(f"{board.product_name} has no MIG; choose another --board, or leave --mig away")
    return dataclasses.replace(
        settings, product_name=board.product_name, mig_enabled=settings.mig_enabled and board.mig_capable
    )


def _start(paths: StatePaths, settings: Settings, lock: int, progress: Progress) -> None:
    # What a killed supervisor left; its namespaces are gone with it, its control groups are not.
    cleanup.end_processes(paths)
    paths.run.mkdir(exist_ok=True)
    problems = preflight.check(paths, settings)
    if problems:
        raise preflight.PreflightError(problems)
    write_settings(paths, settings)
    _write_files(paths, settings)
    if settings.extent is Extent.CLUSTER:
        _install_gpus(paths, settings, progress)
    _launch_supervisor(paths, settings, lock)


def _write_files(paths: StatePaths, settings: Settings) -> None:
    paths.root.chmod(0o755)
    # Sockets of an earlier run must not be taken for this one's.
    shutil.rmtree(paths.run, ignore_errors=True)
    for directory in (paths.run, paths.logs, paths.config, paths.node, paths.cdi, paths.kubelet):
        directory.mkdir(exist_ok=True)
    pki.ensure(paths.pki)
    paths.kubeconfigs.mkdir(mode=0o700, exist_ok=True)
    for client in pki.CLIENTS:
        text = pki.kubeconfig(paths.pki, client, f"https://127.0.0.1:{INNER_API_PORT}")
        pki.write_secret(paths.kubeconfigs / f"{client}.yaml", text)
    pki.write_secret(paths.kubeconfig, pki.kubeconfig(paths.pki, "admin", f"https://127.0.0.1:{settings.api_port}"))
    if settings.extent is Extent.CLUSTER and not pause_image.archive(paths.config).exists():
        try:
            pause_image.build(paths.config)
        except subprocess.CalledProcessError as error:
            raise SandboxError(f"the C compiler cannot build the pods' pause program:\n{error.stderr}") from error


def _install_gpus(paths: StatePaths, settings: Settings, progress: Progress) -> None:
    """Lay out the simulated driver; GPUs that are there already stay as they are."""
    from gpu_sandbox import gpus  # noqa: PLC0415  loads the catalogue; only a node needs it

    began = time.monotonic()
    try:
        gpus.install(paths.driver_root, settings.board, settings.gpus, settings.mig_enabled)
    except (gpus.InstallError, gpus.BuildError) as error:
        raise SandboxError(f"the simulated GPUs cannot be installed: {error}") from error
    progress(f"{settings.gpus} simulated {settings.product_name} installed ({time.monotonic() - began:.1f} s)")


def _launch_supervisor(paths: StatePaths, settings: Settings, lock: int) -> None:
    """Start process 1 in its own world. The listening socket is opened here, so it belongs to the host's network.

    The program on the way there holds the lock as well, until its control groups tell of process 1: should this
    process be killed meanwhile, the next command waits for it and finds what it started.
    """
    with socket.socket() as listener, paths.log("supervisor").open("a") as log:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", settings.api_port))
        listener.listen(512)
        started = subprocess.run(
            [
                *(sys.executable, "-P", "-m", "gpu_sandbox.isolation"),
                *(settings.sandbox_id, str(lock), str(paths.root), str(listener.fileno())),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(listener.fileno(), lock),
            start_new_session=True,  # Ctrl-C at `sandbox up` must not reach the cluster
            cwd="/",
            env={key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "PYTHONPATH", "HOME"}},
            check=False,
        )
    if started.returncode != 0:
        raise SandboxError(f"the sandbox's namespaces cannot be created:\n{status.log_tail(paths.log('supervisor'))}")


def _retry_given_up(paths: StatePaths, report: Report, progress: Progress) -> None:
    for component in report.components:
        if component.state in {State.FAILED, State.STOPPED}:
            progress(f"{component.name} had been given up, trying again")
            supervisor_control.request(paths.control_socket, {"command": "restart", "name": component.name})


# Steps of `down`.


def _stop_gently(paths: StatePaths, progress: Progress) -> None:
    try:
        supervisor_control.request(paths.control_socket, {"command": "stop"})
    except NotRunning:
        return
    progress("stopping the components")
    deadline = time.monotonic() + _STOP_TIMEOUT
    while cleanup.has_processes(paths) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
