"""The private world a sandbox runs in: its own network, mounts, processes, host name and view of the control groups.

Run as a program (`python -m gpu_sandbox.isolation`), it joins the sandbox's control groups, leaves the host's
namespaces and becomes process 1 of the new ones: the supervisor. Because process 1 takes all others with it, killing
it, in whatever way, ends the sandbox and drops its mounts, interfaces and firewall rules. Sets nothing up inside; that
is gpu_sandbox.node.
"""

from __future__ import annotations

import ctypes
import os
import sys

from gpu_sandbox import cgroups

_CLONE_NEWNS = 0x00020000
_CLONE_NEWCGROUP = 0x02000000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_ALL = _CLONE_NEWNS | _CLONE_NEWCGROUP | _CLONE_NEWUTS | _CLONE_NEWPID | _CLONE_NEWNET


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` (os.unshare exists from Python 3.12 only)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot create the sandbox's namespaces: {os.strerror(number)}")


def enter_private_world(sandbox_id: str, lock: int, argv: list[str]) -> None:
    """Run argv as process 1 of new namespaces, and end this process.

    File descriptors are passed on, but for the lock: that is held until this process ends.
    """
    os.set_inheritable(lock, False)
    cgroups.enter(sandbox_id)
    unshare(_ALL)
    cgroups.enter_leaf(sandbox_id)
    if os.fork() == 0:
        os.execv(argv[0], argv)  # noqa: S606  the program is our own interpreter
    # The child belongs to the host's process 1 now: nothing of the sandbox depends on who started it.
    os._exit(0)


if __name__ == "__main__":
    _supervisor = [sys.executable, "-P", "-m", "gpu_sandbox.supervisor", *sys.argv[3:]]
    enter_private_world(sys.argv[1], int(sys.argv[2]), _supervisor)
