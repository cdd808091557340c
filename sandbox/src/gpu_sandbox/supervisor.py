"""The supervisor: process 1 of a sandbox. Boots the node's machine, runs the components, answers on the control socket.

It carries out: the graph comes from gpu_sandbox.components, the decisions from supervisor_plan, processes and probes
from their modules. It never writes to the host outside the state directory, and the sandbox ends with it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from gpu_sandbox import cgroups, components, node
from gpu_sandbox.components.model import Component, Context, Group, HostFacts
from gpu_sandbox.settings import Extent, StatePaths, read_settings
from gpu_sandbox.supervisor_control import Report, encode_report
from gpu_sandbox.supervisor_plan import (
    ComponentStatus,
    GiveUp,
    History,
    Restart,
    State,
    after_exit,
    overall,
    stop_order,
)
from gpu_sandbox.supervisor_probe import Prober
from gpu_sandbox.supervisor_process import Processes, describe_exit

_POLL_SECONDS = 0.05
_CAP_SYS_RESOURCE = 24
_FIRST_OWN_DESCRIPTOR = 10

log = logging.getLogger("supervisor")


class Unit:
    """One component being kept running."""

    def __init__(self, component: Component) -> None:
        self.component = component
        self.ready = asyncio.Event()
        self.state = State.WAITING
        self.since = time.time()
        self.history = History()
        self.pid: int | None = None
        self.detail = ""
        self.task: asyncio.Task[None] | None = None

    def enter(self, state: State, detail: str = "") -> None:
        self.state, self.detail, self.since = state, detail, time.time()
        if state in {State.READY, State.DONE}:
            self.ready.set()
        else:
            self.ready.clear()
        log.info("%s %s%s", self.component.name, state, f": {detail}" if detail else "")

    def status(self) -> ComponentStatus:
        return ComponentStatus(
            name=self.component.name,
            group=self.component.group,
            state=self.state,
            pid=self.pid,
            restarts=self.history.restarts,
            since=self.since,
            detail=self.detail,
        )


class Supervisor:
    """Keeps all components running until it is told to stop."""

    def __init__(self, paths: StatePaths, plan: Iterable[Component], listener: int) -> None:
        self._paths = paths
        self._units = {component.name: Unit(component) for component in plan}
        self._listener = listener
        self._processes = Processes()
        self._prober = Prober(paths.pki)
        self._started = time.time()
        self._stop = asyncio.Event()
        self._busy = asyncio.Lock()  # one restart or stop at a time

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._processes.listen(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._paths.control_socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._answer, self._paths.control_socket)
        self._paths.control_socket.chmod(0o600)
        self._start(self._units.values())
        async with server:
            await self._stop.wait()
            async with self._busy:
                await self._stop_units(self._units)

    # Components.

    def _start(self, units: Iterable[Unit]) -> None:
        for unit in units:
            unit.enter(State.WAITING)
            unit.task = asyncio.create_task(self._keep(unit), name=unit.component.name)

    async def _keep(self, unit: Unit) -> None:
        """Start the component when what it needs is ready, and again when it ends."""
        try:
            for need in unit.component.after:
                if need in self._units:
                    await self._units[need].ready.wait()
            while not await self._run_once(unit):
                pass
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the supervisor outlives a defect in one component's care
            log.exception("%s cannot be kept running", unit.component.name)
            unit.enter(State.FAILED, f"the supervisor failed: {error!r}")

    async def _run_once(self, unit: Unit) -> bool:
        """Run the component until it ends; True when it shall not be started again."""
        component, began = unit.component, time.monotonic()
        was_ready = False
        unit.enter(State.STARTING)
        try:
            for file in component.files:
                file.path.parent.mkdir(parents=True, exist_ok=True)
                file.path.write_text(file.text)
                file.path.chmod(file.mode)
            unit.pid = self._processes.start(
                tuple(component.argv),
                dict(component.environment) or {"PATH": os.environ["PATH"]},
                self._paths.log(component.name),
                self._listener if component.takes_api_listener else None,
            )
        except OSError as error:
            reason = f"cannot be started: {error}"
        else:
            ended = asyncio.ensure_future(self._processes.exit_of(unit.pid))
            while not (ended.done() or was_ready):
                if await self._prober.is_ready(component.ready) and not ended.done():
                    was_ready = True
                    unit.enter(State.READY)
                else:
                    await asyncio.wait((ended,), timeout=_POLL_SECONDS)
            code = await ended
            unit.pid = None
            if component.one_time and code == 0:
                unit.enter(State.DONE)
                return True
            reason = describe_exit(code)
        match after_exit(unit.history, ran_for=time.monotonic() - began, was_ready=was_ready):
            case Restart(history, delay):
                unit.history = history
                unit.enter(State.BACKOFF, reason)
                await asyncio.sleep(delay)
                return False
            case GiveUp(history):
                unit.history = history
                unit.enter(State.FAILED, f"{reason}, {history.failures} times in a row")
                return True

    async def _stop_unit(self, unit: Unit) -> None:
        if unit.task is not None:
            unit.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await unit.task
            unit.task = None
        if unit.pid is not None:
            await self._processes.stop(unit.pid, unit.component.stop_seconds)
            unit.pid = None
        unit.enter(State.STOPPED)

    async def _stop_units(self, names: Iterable[str]) -> None:
        needs = {name: self._units[name].component.after for name in names}
        for wave in stop_order(needs):
            await asyncio.gather(*(self._stop_unit(self._units[name]) for name in wave))

    async def _restart(self, name: str) -> None:
        unit = self._units[name]
        await self._stop_unit(unit)
        unit.history = History(restarts=unit.history.restarts + 1)
        self._start([unit])

    async def _reboot_node(self) -> None:
        """As if the node's machine lost power for a moment: containers end, what was in memory is gone."""
        units = [unit for unit in self._units.values() if unit.component.group is Group.NODE]
        await self._stop_units(unit.component.name for unit in units)
        keep = {unit.pid for unit in self._units.values() if unit.pid is not None}
        # In this thread on purpose: nothing else may reap children or start any until the machine is up again.
        node.shut_down_node(self._paths, _with_children(keep))
        node.start_fresh(self._paths)
        reboot_gpus(self._paths.driver_root)
        for unit in units:
            unit.history = History(restarts=unit.history.restarts + 1)
        self._start(units)

    # The control socket.

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line:
            try:
                answer = await self._obey(json.loads(line))
            except (ValueError, KeyError) as error:
                answer = {"error": f"not a request: {error!r}"}
            except (OSError, RuntimeError) as error:
                log.exception("a request failed")
                answer = {"error": str(error)}
            with contextlib.suppress(OSError):
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _obey(self, message: dict[str, str]) -> dict[str, object]:
        match message:
            case {"command": "status"}:
                statuses = tuple(unit.status() for unit in self._units.values())
                return encode_report(Report(overall(statuses), statuses, self._started))
            case {"command": "restart", "name": "node"} if "kubelet" in self._units:
                async with self._busy:
                    await self._reboot_node()
                return {}
            case {"command": "restart", "name": name} if name in self._units:
                async with self._busy:
                    await self._restart(name)
                return {}
            case {"command": "restart", "name": name}:
                return {"error": f"no component {name!r}; there are: node, {', '.join(self._units)}"}
            case {"command": "stop"}:
                self._stop.set()
                return {}
            case _:
                return {"error": f"unknown request {message!r}"}


def reboot_gpus(driver_root: Path) -> None:
    """Let the simulated GPUs forget what a power cycle makes real ones forget."""
    if driver_root.is_dir():
        from gpu_sandbox import gpus  # noqa: PLC0415  loads the catalogue; an API server alone does not need it

        gpus.reboot(driver_root)


def _with_children(pids: set[int]) -> set[int]:
    """The processes and all their descendants, by what /proc says now."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def host_facts() -> HostFacts:
    bounding = next(
        int(line.split()[1], 16)
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("CapBnd:")
    )
    return HostFacts(
        cgroup_v2=any(hierarchy.is_v2 for hierarchy in cgroups.hierarchies()),
        can_lower_oom_score=bool(bounding >> _CAP_SYS_RESOURCE & 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="gpu-sandbox-supervisor")
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("listener", type=int, help="file descriptor of the host's listening socket")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    paths = StatePaths(arguments.state_dir)
    lock = os.open(paths.supervisor_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    settings = read_settings(paths)
    if settings is None:
        sys.exit(f"{paths.settings} is missing")
    facts = host_facts()
    # Out of the way of the descriptors a component is given, and closed in all components that do not ask for it.
    listener = fcntl.fcntl(arguments.listener, fcntl.F_DUPFD_CLOEXEC, _FIRST_OWN_DESCRIPTOR)
    os.close(arguments.listener)
    node.boot(paths)
    if settings.extent is Extent.CLUSTER:
        reboot_gpus(paths.driver_root)
    plan = components.plan(Context(settings, paths, facts))
    asyncio.run(_run(paths, plan, listener))


async def _run(paths: StatePaths, plan: tuple[Component, ...], listener: int) -> None:
    await Supervisor(paths, plan, listener).run()


if __name__ == "__main__":
    main()
