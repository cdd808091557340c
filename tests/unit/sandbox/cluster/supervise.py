"""Runs a supervisor over harmless shell commands, as a program of its own because it reaps every child it has.

Usage: python -m tests.unit.sandbox.cluster.supervise STATE_DIR PLAN, where PLAN is JSON: a list of
{name, script, after, ready} and `ready` is the path of a socket, or "exit" for a one-time step.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from gpu_sandbox.components.model import Component, ExitProbe, Group, Probe, SocketProbe
from gpu_sandbox.settings import StatePaths
from gpu_sandbox.supervisor import Supervisor


def _component(entry: dict[str, str]) -> Component:
    ready: Probe = ExitProbe() if entry["ready"] == "exit" else SocketProbe(Path(entry["ready"]))
    return Component(
        name=entry["name"],
        group=Group.CONTROL_PLANE,
        argv=("/bin/sh", "-c", entry["script"]),
        after=tuple(entry.get("after", ())),
        ready=ready,
        stop_seconds=1.0,
    )


async def _main() -> None:
    paths = StatePaths(Path(sys.argv[1]))
    plan = [_component(entry) for entry in json.loads(sys.argv[2])]
    await Supervisor(paths, plan, os.open("/dev/null", os.O_RDONLY)).run()


if __name__ == "__main__":
    asyncio.run(_main())
