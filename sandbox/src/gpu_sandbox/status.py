"""What `sandbox status` shows: the supervisor's report, with process ids as the host counts them."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from pathlib import Path
from typing import Any

from gpu_sandbox import cgroups, supervisor_control
from gpu_sandbox.settings import Settings, StatePaths
from gpu_sandbox.supervisor_control import Report


def read(paths: StatePaths, settings: Settings) -> Report:
    """The report, with host process ids. Raises NotRunning."""
    report = supervisor_control.status(paths.control_socket)
    host_pids = inner_to_host_pids(paths, settings.sandbox_id)
    return dataclasses.replace(
        report,
        components=tuple(
            dataclasses.replace(component, pid=host_pids.get(component.pid) if component.pid else None)
            for component in report.components
        ),
    )


def inner_to_host_pids(paths: StatePaths, sandbox_id: str) -> dict[int, int]:
    """Process ids inside the sandbox's process namespace -> the same on the host."""
    namespace = Path("/proc", str(supervisor_control.supervisor_pid(paths.control_socket)), "ns/pid").readlink()
    found = {}
    for pid in cgroups.processes(sandbox_id):
        try:
            if Path("/proc", str(pid), "ns/pid").readlink() == namespace:
                lines = Path("/proc", str(pid), "status").read_text().splitlines()
                inner = next(line for line in lines if line.startswith("NSpid:")).split()[-1]
                found[int(inner)] = pid
        except OSError:
            continue  # it ended meanwhile
    return found


def to_json(settings: Settings, paths: StatePaths, report: Report) -> dict[str, Any]:
    """The stable, documented form for scripts."""
    now = time.time()
    return {
        "id": settings.sandbox_id,
        "state": report.overall,
        "stateDir": str(paths.root),
        "kubeconfig": str(paths.kubeconfig),
        "apiPort": settings.api_port,
        "board": settings.board,
        "gpus": settings.gpus,
        "components": [
            {
                "name": component.name,
                "group": component.group,
                "state": component.state,
                "pid": component.pid,
                "restarts": component.restarts,
                "secondsInState": round(now - component.since, 1),
                "detail": component.detail,
            }
            for component in report.components
        ],
    }


def duration(seconds: float) -> str:
    """A length of time in its two largest units: "8s", "3m 20s", "2h 5m"."""
    whole = int(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"


def log_tail(file: Path, lines: int = 15) -> str:
    """The last lines of a log, or a note that there is none."""
    try:
        with file.open(errors="replace") as stream:
            return "".join(deque(stream, maxlen=lines)).rstrip("\n") or "(the log is empty)"
    except FileNotFoundError:
        return "(there is no log)"
