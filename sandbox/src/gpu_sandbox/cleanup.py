"""Takes away what a sandbox left on the host: processes, control groups, mount points and the state directory.

Most of a sandbox vanishes with its process 1. This removes the rest, needs no supervisor to be alive, and may be run
any number of times. It only ever removes things that carry the sandbox's identity.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

from gpu_sandbox import cgroups
from gpu_sandbox.errors import SandboxError
from gpu_sandbox.node import KUBELET_DEFAULT_ROOT, MOUNT_POINT_MARK
from gpu_sandbox.settings import SettingsError, StatePaths, read_settings


def sandbox_ids(paths: StatePaths) -> frozenset[str]:
    """The ids under which this state directory has control groups: the recorded one, and those whose process 1 names
    the directory, which finds a sandbox whose sandbox.json was lost."""
    recorded = set()
    with contextlib.suppress(SettingsError):
        settings = read_settings(paths)
        recorded = {settings.sandbox_id} if settings else set()
    running = {sandbox_id for sandbox_id in cgroups.sandbox_ids() - recorded if _names(paths, sandbox_id)}
    return frozenset(recorded | running)


def _names(paths: StatePaths, sandbox_id: str) -> bool:
    for pid in cgroups.processes(sandbox_id):
        with contextlib.suppress(OSError):
            words = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
            if b"gpu_sandbox.supervisor" in words and str(paths.root).encode() in words:
                return True
    return False


def has_processes(paths: StatePaths) -> bool:
    """Whether anything of the sandbox runs."""
    return any(cgroups.processes(sandbox_id) for sandbox_id in sandbox_ids(paths))


def end_processes(paths: StatePaths) -> None:
    """Kill all processes of the sandbox and remove its control groups. Raises SandboxError for what stays."""
    problems = []
    for sandbox_id in sandbox_ids(paths):
        if remaining := cgroups.kill(sandbox_id):
            problems.append(f"processes {sorted(remaining)} do not end")
        elif left := cgroups.remove(sandbox_id):
            problems.append(f"control groups stay: {', '.join(map(str, left))}")
    if problems:
        raise SandboxError(f"the sandbox in {paths.root} is not gone completely: {'; '.join(problems)}")


def remove_state(paths: StatePaths) -> None:
    """Remove the state directory and the mount points; the processes must be gone."""
    for point in _host_mounts_below(paths.root):
        subprocess.run(["umount", "--lazy", point], check=True)
    # What tells that the directory is a sandbox's goes last, or an interrupted removal could not be taken up again.
    last = (paths.settings, paths.lock)
    for entry in set(paths.root.iterdir()) - set(last):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for file in last:
        file.unlink(missing_ok=True)
    paths.root.rmdir()


def remove_mount_points() -> None:
    mark = KUBELET_DEFAULT_ROOT / MOUNT_POINT_MARK
    if mark.exists() and not cgroups.sandbox_ids():
        mark.unlink()
        with contextlib.suppress(OSError):  # someone else put files there meanwhile
            KUBELET_DEFAULT_ROOT.rmdir()


def _host_mounts_below(directory: Path) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in reversed(points) if Path(point).is_relative_to(directory)]
