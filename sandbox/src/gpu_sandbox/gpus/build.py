"""Compiles the simulated NVML, its nvidia-smi and its fault injector from the C sources of the checkout.

Owns compiler flags and the cache: one directory per content hash of sources and flags, made whole or not at all. It
installs nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[3] / "nvml"

DRIVER_VERSION = "580.126.20"
"""The driver version that the simulated GPUs report; a data-centre branch with CUDA 13.0."""

LIBRARY = f"libnvidia-ml.so.{DRIVER_VERSION}"
SMI = "nvidia-smi"
ADMIN = "nvml-sim"

_FLAGS = (
    "-std=c17",
    "-D_GNU_SOURCE",  # dladdr, futex, ST_NODEV
    f'-DSIM_DRIVER_VERSION="{DRIVER_VERSION}"',
    "-Wall",
    "-Wextra",
    "-Werror",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",  # the library exports NVML's names and no others
    "-pthread",
)
_STATE_MODULES = ("lib/state.c", "lib/mig.c", "lib/capabilities.c", "lib/transaction.c")


class BuildError(RuntimeError):
    """The C sources could not be compiled; the text says what is missing or what the compiler said."""


@dataclass(frozen=True, slots=True)
class Build:
    """Paths of the compiled files."""

    library: Path
    smi: Path
    admin: Path


def build_library(out_dir: Path, extra_flags: Sequence[str] = ()) -> Build:
    """The compiled simulator, from `out_dir` if these sources were compiled there before. Raises BuildError.

    `extra_flags` go to compiler and linker, for sanitizer builds.
    """
    if not SOURCES.is_dir():
        raise BuildError(f"no C sources in {SOURCES}: the simulated GPUs are built from a checkout, not from a wheel")
    compiler = _compiler()
    flags = (*_FLAGS, *extra_flags)
    home = out_dir / _digest(compiler, flags)
    build = Build(library=home / LIBRARY, smi=home / SMI, admin=home / ADMIN)
    if home.is_dir():
        return build
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".build-") as scratch:
        work = Path(scratch) / "out"
        work.mkdir()
        # The SONAME is what nvidia-ml-py loads, and what ldconfig makes a link of inside a container.
        link = ("-shared", "-Wl,-soname,libnvidia-ml.so.1")
        _compile(compiler, [*flags, *link], _modules("lib"), work / LIBRARY)
        _compile(compiler, [*flags], _modules("smi"), work / SMI)
        _compile(compiler, [*flags], [*_modules("admin"), *(SOURCES / each for each in _STATE_MODULES)], work / ADMIN)
        try:
            work.rename(home)
        except OSError:
            if not home.is_dir():  # otherwise someone else finished the same build first
                raise
    return build


def default_build_dir() -> Path:
    """The per-user cache, honouring XDG_CACHE_HOME."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "gpu-sandbox" / "nvml"


def _compiler() -> str:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise BuildError(
            "no C compiler: `cc` is not on PATH (nor what CC names); "
            "install it, on Debian and Ubuntu with `apt-get install gcc libc6-dev`"
        )
    return compiler


def _modules(folder: str) -> list[Path]:
    return sorted((SOURCES / folder).glob("*.c"))


def _digest(compiler: str, flags: Sequence[str]) -> str:
    digest = hashlib.sha256()
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False)
    digest.update(repr((version.stdout, tuple(flags))).encode())
    for path in sorted(SOURCES.rglob("*.[ch]")):
        digest.update(f"{path.relative_to(SOURCES)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(compiler: str, flags: Sequence[str], modules: Sequence[Path], out: Path) -> None:
    command = [compiler, *flags, f"-I{SOURCES / 'lib'}", *map(str, modules), "-ldl", "-o", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return
    hint = ""
    if "stdio.h" in run.stderr or "cannot find crt1.o" in run.stderr:
        hint = "\nThe C library's headers are missing: on Debian and Ubuntu `apt-get install libc6-dev`."
    raise BuildError(f"compiling {out.name} failed:\n{run.stderr.strip()}{hint}")
