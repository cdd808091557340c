"""Starts, ends and reaps processes as process 1 of the sandbox must: every orphan of the namespace ends up here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

# Python ignores these for itself; a child would inherit that and, say, never notice a closed pipe.
_RESET_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)
_KEEP_LOG_BYTES = 32 << 20


class Processes:
    """All children of process 1."""

    def __init__(self) -> None:
        self._exits: dict[int, asyncio.Future[int]] = {}

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reap from now on, whenever a child ends."""
        loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def start(
        self, argv: tuple[str, ...], environment: Mapping[str, str], log: Path, listener: int | None = None
    ) -> int:
        """Start a program in its own session, its output appended to `log`; returns its process id.

        Raises OSError if it cannot be run.
        """
        _rotate(log)
        actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        if listener is not None:
            actions.append((os.POSIX_SPAWN_DUP2, listener, 3))
        pid = os.posix_spawn(
            argv[0],
            argv,
            environment,
            file_actions=actions,
            setsid=True,
            setsigdef=_RESET_SIGNALS,
            setsigmask=(),
        )
        self._exits[pid] = asyncio.get_running_loop().create_future()
        return pid

    async def exit_of(self, pid: int) -> int:
        """Wait for a started process to end; returns its status as a shell counts it (128 + signal)."""
        return await asyncio.shield(self._exits[pid])

    def runs(self, pid: int) -> bool:
        return pid in self._exits and not self._exits[pid].done()

    async def stop(self, pid: int, seconds: float) -> None:
        """Ask a process to end, and make it end when it takes longer than `seconds`."""
        if not self.runs(pid):
            return
        for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, seconds)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.exit_of(pid), patience)
                return

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            future = self._exits.get(pid)
            if future is not None and not future.done():
                code = os.waitstatus_to_exitcode(status)
                future.set_result(code if code >= 0 else 128 - code)


def describe_exit(code: int) -> str:
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(code - 128).name}"
    return f"exit status {code}"


def _rotate(log: Path) -> None:
    """Keep one old log, so that a component that is restarted for weeks does not fill the disk."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _KEEP_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
