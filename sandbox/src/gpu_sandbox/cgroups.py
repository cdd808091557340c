"""The control groups of one sandbox: one subtree per hierarchy, `/gpu-sandbox-<id>`, that holds all its processes.

The subtree is also the membership list: whatever ran in the sandbox is found there, however its parents died. Works on
cgroup v1 (a subtree in every mounted hierarchy) and v2 (one subtree, with the processes in a leaf because a v2 group
that hands controllers to its children may hold no process itself). Never touches a group of another name.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

PREFIX = "gpu-sandbox-"
LEAF = "system"
_MOUNTINFO = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup file system."""

    mount_point: Path
    options: str  # the controllers of a v1 hierarchy ("cpu,cpuacct", "name=systemd"); "" for v2

    @property
    def is_v2(self) -> bool:
        return not self.options


def parse_mountinfo(text: str) -> tuple[Hierarchy, ...]:
    """The hierarchies that matter: all v1 ones, or the v2 one where there is no v1 controller.

    A hybrid host mounts an empty v2 tree next to v1; its processes are told apart by v1 alone.
    """
    v1: dict[str, Hierarchy] = {}
    v2: list[Hierarchy] = []
    for line in text.splitlines():
        fields = line.split()
        separator = fields.index("-")
        mount_point, kind, super_options = fields[4], fields[separator + 1], fields[separator + 3]
        if kind == "cgroup":
            options = ",".join(o for o in super_options.split(",") if o not in {"rw", "ro", "xattr", "clone_children"})
            # A host may mount one hierarchy twice (cpu and cpu,cpuacct as links); the first one will do.
            v1.setdefault(options, Hierarchy(Path(mount_point), options))
        elif kind == "cgroup2":
            v2.append(Hierarchy(Path(mount_point), ""))
    if any(not h.options.startswith("name=") for h in v1.values()):
        return tuple(v1.values())
    return tuple(v2[:1])


def hierarchies() -> tuple[Hierarchy, ...]:
    return parse_mountinfo(_MOUNTINFO.read_text())


def group_name(sandbox_id: str) -> str:
    return PREFIX + sandbox_id


def enter(sandbox_id: str) -> None:
    """Create the subtrees and move this process into their roots."""
    for hierarchy in hierarchies():
        group = hierarchy.mount_point / group_name(sandbox_id)
        if hierarchy.is_v2:
            _hand_down_controllers(hierarchy.mount_point)
        group.mkdir(exist_ok=True)
        if "cpuset" in hierarchy.options.split(","):
            for file in ("cpuset.cpus", "cpuset.mems"):
                # A new v1 cpuset is empty and refuses processes until it has CPUs and memory nodes.
                (group / file).write_text((hierarchy.mount_point / file).read_text())
        (group / "cgroup.procs").write_text(str(os.getpid()))


def enter_leaf(sandbox_id: str) -> None:
    """On v2, step down into the leaf and let the root of the subtree hand its controllers to the pods' groups."""
    for hierarchy in hierarchies():
        if hierarchy.is_v2:
            group = hierarchy.mount_point / group_name(sandbox_id)
            (group / LEAF).mkdir(exist_ok=True)
            (group / LEAF / "cgroup.procs").write_text(str(os.getpid()))
            _hand_down_controllers(group)


def _hand_down_controllers(group: Path) -> None:
    offered = (group / "cgroup.controllers").read_text().split()
    enabled = (group / "cgroup.subtree_control").read_text().split()
    for controller in offered:
        if controller not in enabled:
            # A controller in use elsewhere (cpu with real-time processes) is refused; kubelet names what it misses.
            with contextlib.suppress(OSError):
                (group / "cgroup.subtree_control").write_text(f"+{controller}")


def groups(sandbox_id: str) -> tuple[Path, ...]:
    """The subtrees of this sandbox that exist now."""
    candidates = (hierarchy.mount_point / group_name(sandbox_id) for hierarchy in hierarchies())
    return tuple(group for group in candidates if group.is_dir())


def sandbox_ids() -> frozenset[str]:
    """Every sandbox that has control groups on this machine."""
    return frozenset(
        entry.name.removeprefix(PREFIX)
        for hierarchy in hierarchies()
        for entry in hierarchy.mount_point.glob(f"{PREFIX}*")
        if entry.is_dir()
    )


def processes(sandbox_id: str) -> frozenset[int]:
    """Host process ids of everything that runs in the sandbox."""
    found: set[int] = set()
    for group in groups(sandbox_id):
        for directory, _, _ in os.walk(group):
            with contextlib.suppress(OSError):  # a group may go away while it is read
                found.update(int(pid) for pid in (Path(directory) / "cgroup.procs").read_text().split() if pid != "0")
    return frozenset(found)


def kill(sandbox_id: str, timeout: float = 15.0) -> frozenset[int]:
    """Kill everything in the sandbox and wait until it is gone; returns the processes that would not die."""
    deadline = time.monotonic() + timeout
    while remaining := processes(sandbox_id):
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return remaining
        time.sleep(0.02)
    return frozenset()


def remove(sandbox_id: str, timeout: float = 5.0) -> tuple[Path, ...]:
    """Remove the emptied subtrees; returns those that stayed."""
    deadline = time.monotonic() + timeout
    while True:
        for group in groups(sandbox_id):
            remove_tree(group)
        left = groups(sandbox_id)
        # The kernel lets go of a group a moment after its last process was reaped.
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def remove_tree(group: Path) -> None:
    """Remove a control group and those below it, as far as the kernel lets them go."""
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
