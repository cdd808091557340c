"""Finds an official Pulumi installation, which is preferred over the one the sandbox builds."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

MINIMUM = (3, 250, 0)
"""Oldest CLI that fits the pinned Python SDK."""


def parse_version(text: str) -> tuple[int, int, int] | None:
    """`v3.250.0`, `3.250.0-dev` and the like to numbers; None when there is no version in the text."""
    match = re.search(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def official_pulumi() -> Path | None:
    """The `pulumi` on PATH if it is new enough and has its Python language host beside it or on PATH; else None."""
    found = shutil.which("pulumi")
    if found is None:
        return None
    program = Path(found).resolve()
    host_beside = (program.parent / "pulumi-language-python").is_file()
    if not host_beside and shutil.which("pulumi-language-python") is None:
        return None
    try:
        answer = subprocess.run([program, "version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    version = parse_version(answer.stdout)
    return program if version is not None and version >= MINIMUM else None
