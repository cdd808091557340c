"""The lock that keeps two commands from changing one sandbox at the same time. It lies in the state directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator

from gpu_sandbox.errors import SandboxError
from gpu_sandbox.settings import StatePaths

# Long enough for what a killed command had just started to show up, short enough to be told who is at work.
_PATIENCE = 3.0
_POLL_SECONDS = 0.05


@contextlib.contextmanager
def locked(paths: StatePaths, what: str) -> Iterator[int]:
    """Hold the state directory's lock, given as its descriptor; a directory made for that alone goes in the end.

    Raises SandboxError if another command holds it and does not let go soon.
    """
    existed, deadline = paths.root.exists(), time.monotonic() + _PATIENCE
    while True:
        try:
            paths.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # `sandbox down` removed the directory between the two calls
        except (FileExistsError, NotADirectoryError):
            raise SandboxError(f"{paths.root} is not a directory; choose another one with --state-dir") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            if time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                continue
            raise SandboxError(f"another command works on the sandbox in {paths.root}: {holder}; wait for it") from None
        # `sandbox down` removes the directory with the lock in it: only a lock that is still there counts.
        with contextlib.suppress(FileNotFoundError):
            if paths.lock.stat().st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"`{what}`, process {os.getpid()}\n".encode())
        yield descriptor
    finally:
        if not existed and paths.root.is_dir() and set(paths.root.iterdir()) <= paths.before_settings:
            shutil.rmtree(paths.root, ignore_errors=True)
        os.close(descriptor)
