"""Makes the images' base: a minimal Debian root with Python, as one tar file in the cache, without package lists and docs.

Packages come from the host's own distribution through debootstrap, which checks them against the archive's signing keys.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RECIPE = 1
"""Raise it when the steps below change, so that cached bases are made anew."""

PACKAGES = ("python3-minimal", "libpython3-stdlib")
"""What both images need on top of a minimal Debian: an interpreter with its standard library."""

SUITES = {"debian": "bookworm", "ubuntu": "noble"}
"""Release to install when the host's own is older than Python 3.11, or is not a Debian or Ubuntu release."""

NEW_ENOUGH = frozenset({"bookworm", "trixie", "forky", "noble", "plucky", "questing", "resolute"})
"""Releases whose python3 is 3.11 or newer, which the driver needs."""

UNUSED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "var/log",
)
"""Taken out again: 130 MB that no container reads."""


class BaseError(Exception):
    """The base could not be made; carries debootstrap's last words."""


@dataclass(frozen=True)
class Base:
    """A base image: `key` names its content, `tar` is the root file system."""

    key: str
    tar: Path

    @property
    def reference(self) -> str:
        return f"localhost/gpu-sandbox-base:{self.key}"


def choose_suite(os_release: str) -> str:
    """The release to debootstrap on a host with this /etc/os-release text."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    distribution = fields.get("ID", "").strip('"')
    codename = fields.get("VERSION_CODENAME", "").strip('"')
    return codename if codename in NEW_ENOUGH else SUITES.get(distribution, SUITES["debian"])


def make_base(folder: Path, say: Callable[[str], None]) -> Base:
    """Make the base in `folder` unless it is there.

    Raises:
        BaseError: debootstrap failed.
    """
    suite = choose_suite(Path("/etc/os-release").read_text())
    described = f"{RECIPE} {suite} {' '.join(PACKAGES)} {platform.machine()}"
    key = hashlib.sha256(described.encode()).hexdigest()[:12]
    base = Base(key, folder / f"base-{key}.tar")
    if base.tar.is_file():
        return base
    folder.mkdir(parents=True, exist_ok=True)
    say(f"image base: Debian root with Python by debootstrap ({suite}), about a minute, once")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".base-") as scratch:
        root = Path(scratch) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(root)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            words = "\n  ".join(answer.stdout.splitlines()[-15:] + answer.stderr.splitlines()[-5:])
            raise BaseError(f"`{' '.join(command)}` failed:\n  {words}")
        for unused in UNUSED:
            shutil.rmtree(root / unused, ignore_errors=True)
            (root / unused).mkdir(parents=True)
        partial = Path(scratch) / "base.tar"
        subprocess.run(["tar", "--numeric-owner", "-C", str(root), "-cf", str(partial), "."], check=True)
        partial.rename(base.tar)
    return base
