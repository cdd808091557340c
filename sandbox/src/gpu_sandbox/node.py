"""The machine the sandbox's node believes to be: what is mounted where inside the namespaces, and a reboot of it.

Everything here runs inside the sandbox's namespaces, called by the supervisor. The host's mounts are private to the
host, so nothing mounted here is seen outside or outlives process 1. Where kubelet insists on a path of the host
(`/var/log`, `/var/lib/kubelet`, a kernel setting), a directory or file of the state directory is put over it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Collection
from pathlib import Path

from gpu_sandbox import cgroups, network
from gpu_sandbox.settings import NODE_NAME, StatePaths

# Kernel settings that kubelet wants and would change for the whole machine; the node sees them as already so.
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}

# kubelet's device plugin socket has this path whatever its root directory is, and charts of other vendors expect it.
KUBELET_DEFAULT_ROOT = Path("/var/lib/kubelet")
# Says that the directory was made as a mount point for sandboxes and goes with the last of them. Removing a directory
# that another namespace has something mounted on would unmount it there.
MOUNT_POINT_MARK = ".made-by-gpu-sandbox"

_CGROUP_ROOT = Path("/sys/fs/cgroup")


def boot(paths: StatePaths) -> None:
    """Make the machine out of fresh namespaces. Called once, by process 1."""
    hierarchies = cgroups.hierarchies()
    _run("mount", "--make-rprivate", "/")
    # Containers with mount propagation need a shared root; shared among the sandbox's own processes, that is.
    _run("mount", "--make-rshared", "/")
    _mount("proc", "proc", Path("/proc"))
    _mount("sysfs", "sysfs", Path("/sys"))
    _mount_cgroups(hierarchies)
    _run("hostname", NODE_NAME)
    _put_over(paths)
    start_fresh(paths)
    network.set_up()


def start_fresh(paths: StatePaths) -> None:
    """What every boot does: an empty /run, no CDI specifications, a new boot id."""
    _mount("tmpfs", "tmpfs", Path("/run"), "mode=755")
    clear(paths.cdi)
    # Addresses of pods that no longer run.
    clear(paths.cni / "addresses")
    paths.boot_id.write_text(f"{uuid.uuid4()}\n")


def shut_down_node(paths: StatePaths, keep: Collection[int]) -> None:
    """End every process but those in `keep` and process 1, and drop what they held: mounts, interfaces, groups.

    Called after the node's components were stopped: what is left are containers, with their shims.
    """
    _kill_all_but(keep)
    for mount_point in _mounts_below((paths.kubelet, paths.containerd, Path("/run"), KUBELET_DEFAULT_ROOT)):
        subprocess.run(["umount", "--lazy", mount_point], check=False, capture_output=True)
    network.remove_pod_interfaces()
    for hierarchy in cgroups.hierarchies():
        for group in hierarchy.mount_point.iterdir():
            if group.is_dir() and group.name != cgroups.LEAF:
                cgroups.remove_tree(group)
    _run("umount", "--lazy", "/run")


def clear(directory: Path) -> None:
    """Empty a directory, and make it if it is missing."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)


def _put_over(paths: StatePaths) -> None:
    # Here and not before the start: from now on this sandbox's control groups keep another's `down` from removing it.
    if not KUBELET_DEFAULT_ROOT.exists():
        KUBELET_DEFAULT_ROOT.mkdir()
        (KUBELET_DEFAULT_ROOT / MOUNT_POINT_MARK).touch()
    covers = {paths.node / "var-log": Path("/var/log"), paths.kubelet: KUBELET_DEFAULT_ROOT}
    for own, path_on_host in covers.items():
        own.mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(own), str(path_on_host))
    settings = {**_KERNEL_SETTINGS, str(paths.boot_id.relative_to(paths.kernel_settings)): ""}
    for name, value in settings.items():
        own, path_on_host = paths.kernel_settings / name, Path("/proc/sys", name)
        if path_on_host.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            own.write_text(f"{value}\n")
            _run("mount", "--bind", str(own), str(path_on_host))


def _mount_cgroups(hierarchies: tuple[cgroups.Hierarchy, ...]) -> None:
    if any(hierarchy.is_v2 for hierarchy in hierarchies):
        _mount("cgroup2", "cgroup2", _CGROUP_ROOT)
        return
    _mount("tmpfs", "tmpfs", _CGROUP_ROOT, "mode=755")
    for hierarchy in hierarchies:
        own = _CGROUP_ROOT / hierarchy.mount_point.name
        own.mkdir()
        options = f"none,{hierarchy.options}" if hierarchy.options.startswith("name=") else hierarchy.options
        _mount("cgroup", "cgroup", own, options)
        for controller in hierarchy.options.split(","):
            alias = _CGROUP_ROOT / controller
            if "=" not in controller and not alias.exists():
                alias.symlink_to(own.name)  # containerd looks for /sys/fs/cgroup/cpu, not cpu,cpuacct


def _kill_all_but(keep: Collection[int], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while doomed := _processes() - set(keep) - {1}:
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            # They are children of process 1, this one, once their parents are gone.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(doomed)} of the node do not end")
        time.sleep(0.02)


def _processes() -> set[int]:
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}


def _mounts_below(directories: tuple[Path, ...]) -> list[str]:
    """Mount points strictly below the directories, innermost first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [
        point
        for point in reversed(points)
        if any(Path(point).is_relative_to(d) and Path(point) != d for d in directories)
    ]


def _mount(source: str, kind: str, target: Path, options: str = "") -> None:
    _run("mount", "-t", kind, *(("-o", options) if options else ()), source, str(target))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
