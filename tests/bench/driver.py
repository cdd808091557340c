"""What the running driver costs: resident memory when idle, and the time from its process's start to published slices.

Both are read from outside: memory from /proc, the start from the process's start time, the end from the driver's own log
line that it is ready, which it writes when its slices are published and its sockets are open.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

NAMESPACE = "gpu-dra-driver"


class NoDriverError(Exception):
    """No driver process of this sandbox, or no line in its log that it is ready."""


@dataclass(frozen=True)
class Cost:
    """`resident_mib` when idle, and `startup_ms` from process start to ready."""

    resident_mib: float
    startup_ms: float


def driver_process(state_dir: Path) -> int:
    """The host's process id of the driver that has this sandbox's driver root mounted.

    Raises:
        NoDriverError: there is none.
    """
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"gpu_dra_driver" in command and f"{state_dir}/" in (process / "mountinfo").read_text():
                return int(process.name)
        except OSError:
            continue
    raise NoDriverError(f"no driver runs in the sandbox of {state_dir}; `make up` deploys it")


def _start_of(pid: int) -> float:
    """Seconds since the epoch, from ticks since boot."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    boot = next(
        int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
    )
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def _boot_error() -> float:
    """`btime` has whole seconds: what to add to times derived from it."""
    boot = next(
        int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
    )
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) - boot


def measure(state_dir: Path, kubectl: tuple[str, ...], environment: dict[str, str]) -> Cost:
    """Look at the driver that runs now; it must not have a log so old that the start has been rotated away."""
    pid = driver_process(state_dir)
    resident = next(
        int(line.split()[1])
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    command = (*kubectl, "-n", NAMESPACE, "logs", "daemonset/gpu-dra-driver")
    log = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    found = re.search(r"^(\S+Z) \S+ ready after", log, re.MULTILINE)
    if found is None:
        raise NoDriverError("the driver's log has no line that it is ready")
    ready = datetime.fromisoformat(found[1]).timestamp()
    return Cost(resident / 1024, (ready - _start_of(pid) - _boot_error()) * 1000)
