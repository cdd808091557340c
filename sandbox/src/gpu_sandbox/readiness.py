"""Waits for a sandbox to be ready, tells how it goes, and explains with the logs why it does not get there."""

from __future__ import annotations

import time
from collections.abc import Callable

from gpu_sandbox import cleanup, status, supervisor_control
from gpu_sandbox.errors import SandboxError
from gpu_sandbox.settings import StatePaths
from gpu_sandbox.supervisor_control import NotRunning, Report
from gpu_sandbox.supervisor_plan import ComponentStatus, Overall, State

_POLL_SECONDS = 0.05
_TIMEOUT = 180.0
# From its first process on, a sandbox is seen by its control groups; that takes a moment.
_FIRST_SIGN = 1.0

Progress = Callable[[str], None]


def wait(paths: StatePaths, progress: Progress, *, only_changes: bool = False) -> Report:
    """Wait until all components are ready; progress gets a line for each, or only for those that are not yet.

    Raises SandboxError, with the end of the log, for a component that was given up or is late.
    """
    began = time.monotonic()
    shown: dict[str, State] = {}
    seen_alive = False
    while True:
        report = None
        try:
            report = supervisor_control.status(paths.control_socket)
            seen_alive = True
        except NotRunning:
            # Between its start and its first answer it boots the machine; after that, silence means it is gone.
            if seen_alive or (time.monotonic() - began > _FIRST_SIGN and not cleanup.has_processes(paths)):
                raise SandboxError(_gone(paths)) from None
        if report is not None:
            if only_changes and not shown:
                shown = {component.name: component.state for component in report.components}
            for component in report.components:
                if shown.get(component.name) is not component.state:
                    shown[component.name] = component.state
                    _show(component, time.monotonic() - began, progress)
            failed = [component for component in report.components if component.state is State.FAILED]
            if failed:
                raise SandboxError("\n".join(_explain(paths, component) for component in failed))
            if report.overall is Overall.READY:
                return report
        if time.monotonic() - began > _TIMEOUT:
            waiting = [c for c in (report.components if report else ()) if c.state not in {State.READY, State.DONE}]
            explained = "\n".join(_explain(paths, c) for c in waiting if c.state is not State.WAITING)
            raise SandboxError(f"the sandbox is not ready after {_TIMEOUT:.0f} s\n{explained or _gone(paths)}")
        time.sleep(_POLL_SECONDS)


def _show(component: ComponentStatus, seconds: float, progress: Progress) -> None:
    if component.state in {State.READY, State.DONE}:
        progress(f"{component.name} {component.state} ({seconds:.1f} s)")
    elif component.state is State.BACKOFF:
        progress(f"{component.name} ended ({component.detail}), starting it again")


def _explain(paths: StatePaths, component: ComponentStatus) -> str:
    log = paths.log(component.name)
    state = f"{component.state}: {component.detail}" if component.detail else f"still {component.state}"
    tail = "\n".join(f"    {line}" for line in status.log_tail(log).splitlines())
    return f"{component.name} {state}. The end of {log}:\n{tail}"


def _gone(paths: StatePaths) -> str:
    log = paths.log("supervisor")
    return f"the supervisor is gone. The end of {log}:\n{status.log_tail(log)}\nRun `sandbox up` again."
