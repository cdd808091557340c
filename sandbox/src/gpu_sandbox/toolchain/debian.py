"""The distribution packages the sandbox runs on: which, why, whether they are here, and how to get them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class PackagesMissingError(Exception):
    """Packages are missing and cannot be installed here; the text names them and the command."""


@dataclass(frozen=True)
class Package:
    """A Debian package and the file by which it is recognised, wherever it came from."""

    name: str
    reason: str
    probes: tuple[str, ...]

    def present(self) -> bool:
        return any(
            Path(probe).exists() if probe.startswith("/") else shutil.which(probe, path=SEARCH_PATH)
            for probe in self.probes
        )


SEARCH_PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"

PACKAGES = (
    Package("runc", "starts containers", ("runc",)),
    Package("containernetworking-plugins", "gives pods a network", ("/usr/lib/cni/bridge", "/opt/cni/bin/bridge")),
    Package("iptables", "service addresses and pod masquerading", ("iptables",)),
    Package("iproute2", "interfaces and network namespaces", ("ip",)),
    Package("conntrack", "kube-proxy forgets connections to pods that are gone", ("conntrack",)),
    Package("buildah", "builds the driver image from its Dockerfile", ("buildah",)),
    Package("debootstrap", "makes the images' base", ("debootstrap",)),
    Package("gcc", "compiles the simulated NVML library", ("cc", "gcc")),
    Package("libc6-dev", "compiles the simulated NVML library", ("/usr/include/stdio.h",)),
    Package("busybox-static", "the small image of the end-to-end tests", ("/bin/busybox",)),
    Package("ca-certificates", "downloads are checked against it", ("/etc/ssl/certs/ca-certificates.crt",)),
)


def missing_packages() -> tuple[Package, ...]:
    return tuple(package for package in PACKAGES if not package.present())


def ensure_packages(say: Callable[[str], None]) -> None:
    """Install what is missing with apt-get when that is possible.

    Raises:
        PackagesMissingError: not root, no apt-get, or apt-get failed; names every package, its reason and the command.
    """
    missing = missing_packages()
    if not missing:
        return
    names = [package.name for package in missing]
    command = f"apt-get install {' '.join(names)}"
    wanted = "\n".join(f"  {package.name:28} {package.reason}" for package in missing)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        why = "this is not root" if os.geteuid() != 0 else "this system has no apt-get"
        raise PackagesMissingError(
            f"these packages are needed and {why}:\n{wanted}\nOn Debian or Ubuntu, as root: {command}"
        )
    say(f"installing Debian packages: {', '.join(names)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names],
    ):
        answer = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        if answer.returncode != 0 and arguments[1] == "install":
            raise PackagesMissingError(f"`{command}` failed:\n{answer.stderr.strip()[-2000:]}\nNeeded:\n{wanted}")
    still = [package.name for package in missing_packages()]
    if still:
        raise PackagesMissingError(f"apt-get installed them, but these are still not found on PATH: {', '.join(still)}")
