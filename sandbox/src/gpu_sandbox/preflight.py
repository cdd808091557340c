"""Looks whether a sandbox can be started here, and says everything that is in the way at once, with what to do.

Changes nothing: kernel features are tried in namespaces that vanish with the question.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpu_sandbox import cgroups, components, network
from gpu_sandbox.errors import SandboxError
from gpu_sandbox.settings import MAX_STATE_DIR_BYTES, Extent, Settings, StatePaths

_GIB = 1 << 30
_NEEDED_BYTES = {Extent.API: (1 * _GIB, 1 * _GIB), Extent.CLUSTER: (3 * _GIB, 5 * _GIB)}  # memory, disk

# Program -> the Debian package that has it.
_PROGRAMS = {
    Extent.API: {"ip": "iproute2", "mount": "mount", "unshare": "util-linux", "hostname": "hostname"},
    Extent.CLUSTER: {"runc": "runc", "iptables": "iptables", "cc": "gcc libc6-dev"},
}

# Each line prints the feature's name if the kernel lacks it.
_NETWORK_SCRIPT = """
ip link add probe0 type bridge || echo "bridge interfaces (module bridge)"
ip link add probe1 type veth peer name probe2 || echo "veth interfaces (module veth)"
"""
_NODE_SCRIPT = """
test -e /proc/sys/net/bridge/bridge-nf-call-iptables || echo "firewall rules on bridges (module br_netfilter)"
rule() { iptables -t nat -A PREROUTING "$@" -j ACCEPT; }
rule -m comment --comment probe || echo "iptables NAT with comments (modules iptable_nat or nft_chain_nat, xt_comment)"
rule -m statistic --mode random --probability 0.5 || echo "iptables statistic match (module xt_statistic)"
rule -m conntrack --ctstate NEW || echo "connection tracking (modules nf_conntrack, xt_conntrack)"
mkdir -p "$1/lower" "$1/upper" "$1/work" "$1/merged" &&
mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$1/merged" ||
echo "overlay mounts in the state directory (module overlay; not possible on top of another overlay)"
"""
_V1_CONTROLLERS = frozenset({"cpu", "cpuset", "memory", "devices", "pids"})
_V2_CONTROLLERS = frozenset({"cpu", "cpuset", "memory", "pids"})


@dataclass(frozen=True)
class Problem:
    """One thing in the way."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}\n    {self.remedy}"


class PreflightError(SandboxError):
    """The sandbox cannot be started here."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        listed = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"the sandbox cannot be started here:\n{listed}")


def check_platform() -> tuple[Problem, ...]:
    """What no option changes."""
    if sys.platform != "linux":
        return (
            Problem(
                f"this is {sys.platform}, and the sandbox runs real Linux containers",
                "use a Linux machine or a Linux virtual machine, for example with Lima or WSL 2",
            ),
        )
    if os.geteuid() != 0:
        return (
            Problem(
                f"user {os.geteuid()} may not create namespaces, mounts and control groups",
                "run the command as root, for example with `sudo -E`",
            ),
        )
    return ()


def check(paths: StatePaths, settings: Settings) -> tuple[Problem, ...]:
    """Everything that would keep these settings from working here."""
    problems = check_platform()
    if problems:
        return problems
    return tuple(
        problem
        for checks in (
            _check_state_dir(paths),
            _check_programs(settings),
            _check_amounts(paths, settings),
            _check_port(settings),
            _check_cgroups(),
            _check_kernel(paths, settings),
        )
        for problem in checks
    )


def _check_state_dir(paths: StatePaths) -> Iterator[Problem]:
    text = str(paths.root)
    if len(os.fsencode(text)) > MAX_STATE_DIR_BYTES:
        yield Problem(
            f"the path of the state directory is too long: {text} has {len(os.fsencode(text))} bytes, at most "
            f"{MAX_STATE_DIR_BYTES} leave room for the sockets below it",
            "choose a shorter one with --state-dir",
        )
    if not paths.root.is_absolute() or any(character in text for character in " \t\n,:'\"\\"):
        yield Problem(
            f"the state directory {text!r} is not an absolute path of plain characters",
            "choose another one with --state-dir",
        )
    for hidden in ("/run", "/var/run", "/proc", "/sys", "/var/log"):
        if paths.root.is_relative_to(hidden):
            yield Problem(
                f"the state directory {text} lies in {hidden}, which the node replaces by its own",
                "choose another one with --state-dir",
            )
    if paths.root.is_dir() and not paths.settings.exists() and set(paths.root.iterdir()) - paths.before_settings:
        yield Problem(
            f"{text} holds files that are not a sandbox's", "choose another directory with --state-dir, or empty it"
        )


def _check_programs(settings: Settings) -> Iterator[Problem]:
    wanted = _PROGRAMS[Extent.API] | (_PROGRAMS[Extent.CLUSTER] if settings.extent is Extent.CLUSTER else {})
    missing = {program: package for program, package in wanted.items() if shutil.which(program) is None}
    if settings.extent is Extent.CLUSTER:
        plugins = [name for name in network.CNI_PLUGINS if not (network.CNI_BIN_DIR / name).is_file()]
        if plugins:
            missing[f"{network.CNI_BIN_DIR}/{{{','.join(plugins)}}}"] = "containernetworking-plugins"
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        yield Problem(f"these programs are missing: {', '.join(missing)}", f"on Debian: apt-get install {packages}")
    built = [name for name in components.required_programs(settings) if not (settings.bin_dir / name).is_file()]
    if built:
        yield Problem(
            f"{settings.bin_dir} lacks {', '.join(built)}",
            "run `sandbox toolchain build`",
        )


def check_amounts(settings: Settings, *, memory: int, disk: int, disk_of: Path) -> Iterator[Problem]:
    """Whether these bytes of available memory, and of free disk in `disk_of`, are enough."""
    memory_needed, disk_needed = _NEEDED_BYTES[settings.extent]
    if memory < memory_needed:
        yield Problem(
            f"{memory / _GIB:.1f} GiB of memory are available, the sandbox needs {memory_needed // _GIB} GiB",
            "end other programs, or give the machine more memory",
        )
    if disk < disk_needed:
        yield Problem(
            f"{disk / _GIB:.1f} GiB are free in {disk_of}, the sandbox needs {disk_needed // _GIB} GiB",
            "free some space, or choose a directory on another disk with --state-dir",
        )


def _check_amounts(paths: StatePaths, settings: Settings) -> Iterator[Problem]:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    place = _nearest_existing(paths.root)
    yield from check_amounts(settings, memory=available, disk=shutil.disk_usage(place).free, disk_of=place)


def _check_port(settings: Settings) -> Iterator[Problem]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", settings.api_port))
            probe.listen()
        except OSError as error:
            holder = _port_holder(settings.api_port)
            yield Problem(
                f"port {settings.api_port} of 127.0.0.1 cannot be used: {error.strerror}{holder}",
                "end what holds it, or choose another port with --api-port",
            )


def _port_holder(port: int) -> str:
    """Names the process that listens on the port, as the end of a sentence; empty if it cannot be found."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    holders = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if any(str(file.readlink()) in inodes for file in (process / "fd").iterdir()):
                    holders.append((process.name, (process / "cmdline").read_text(errors="replace").split("\0")))
    for _, words in holders:
        if "gpu_sandbox.supervisor" in words:
            state_dir = words[words.index("gpu_sandbox.supervisor") + 1]
            return f", the sandbox in {state_dir} holds it (end it: sandbox down --state-dir {state_dir})"
    if holders:
        pid, words = holders[0]
        return f", process {pid} holds it ({' '.join(words)[:120]})"
    return ""


def _check_cgroups() -> Iterator[Problem]:
    found = cgroups.hierarchies()
    if not found:
        yield Problem("no control groups are mounted", "mount them: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
        return
    if found[0].is_v2:
        offered = set((found[0].mount_point / "cgroup.controllers").read_text().split())
        missing = _V2_CONTROLLERS - offered
    else:
        missing = _V1_CONTROLLERS - {name for hierarchy in found for name in hierarchy.options.split(",")}
    if missing:
        yield Problem(
            f"these control group controllers are missing: {', '.join(sorted(missing))}",
            "enable them (kernel command line, or the settings of the container or virtual machine this runs in)",
        )


def _check_kernel(paths: StatePaths, settings: Settings) -> Iterator[Problem]:
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return  # said already, and nothing can be tried
    script = _NETWORK_SCRIPT + (_NODE_SCRIPT if settings.extent is Extent.CLUSTER else "")
    # In the state directory, because that is where overlays must work; `run` is emptied at each start.
    place = _nearest_existing(paths.run)
    with tempfile.TemporaryDirectory(prefix=".gpu-sandbox-probe-", dir=place) as scratch:
        result = subprocess.run(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--cgroup", "--uts", "sh", "-c", script, "sh", scratch],
            capture_output=True,
            text=True,
            check=False,
        )
    if result.stdout:
        for feature in result.stdout.splitlines():
            yield Problem(
                f"the kernel does not offer {feature}", "load the module with modprobe, or use another kernel"
            )
    elif result.returncode != 0:
        yield Problem(
            f"namespaces cannot be created: {result.stderr.strip()}",
            "run on the machine itself, in a virtual machine, or in a privileged container",
        )


def _nearest_existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.is_dir())
