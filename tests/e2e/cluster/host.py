"""What can be seen of a sandbox on the host: for comparing before, during and after."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from gpu_sandbox import cgroups
from gpu_sandbox.node import KUBELET_DEFAULT_ROOT

_LISTED = ("/etc", "/opt", "/run", "/var/lib", "/var/log", "/usr/libexec", "/etc/cni", "/var/run/netns")
_SETTINGS = (
    "net/ipv4/ip_forward",
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/conf/all/route_localnet",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "kernel/random/boot_id",
    "kernel/hostname",
)

_IMAGE_BUILD = re.compile(r"/containers(/|$)|buildah|debootstrap|libpod")


def footprint() -> dict[str, object]:
    """The parts of the host that a Kubernetes node usually changes, by name.

    Other sandboxes and image builds are left out, so that they may come and go meanwhile.
    """
    return {
        "interfaces": sorted(entry.name for entry in Path("/sys/class/net").iterdir()),
        "routes": Path("/proc/net/route").read_text(),
        "mounts": sorted(_mounts()),
        "settings": {
            name: Path("/proc/sys", name).read_text() for name in _SETTINGS if Path("/proc/sys", name).exists()
        },
        "firewall": {program: _rules(program) for program in ("iptables-save", "ip6tables-save", "nft")},
        "directories": {place: _entries(Path(place)) for place in _LISTED},
    }


def control_groups(sandbox_id: str) -> list[str]:
    return [str(group) for group in cgroups.groups(sandbox_id)]


def processes_that_name(text: str) -> list[str]:
    """Command lines on this machine that contain the text, but for this process and its parents."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in {os.getpid(), os.getppid()}:
            try:
                words = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            if text in words:
                found.append(words)
    return found


def _mounts() -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if not _IMAGE_BUILD.search(point)]


def _rules(program: str) -> list[str]:
    if shutil.which(program) is None:
        return []
    arguments = ["list", "ruleset"] if program == "nft" else []
    output = subprocess.run([program, *arguments], capture_output=True, text=True, check=False).stdout
    return [line for line in output.splitlines() if line and line[0] not in "#:*"]


def _entries(directory: Path) -> list[str]:
    # iptables-save above makes the lock file itself.
    ours = {KUBELET_DEFAULT_ROOT, Path("/run/xtables.lock")}
    if not directory.is_dir():
        return []
    return sorted(
        entry.name
        for entry in directory.iterdir()
        if entry not in ours and not entry.name.startswith("gpu-sb") and not _IMAGE_BUILD.search(str(entry))
    )
