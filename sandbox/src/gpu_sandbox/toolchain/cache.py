"""Where built programs lie: `<cache>/toolchain/<tool>-<key>` for each binary and `<cache>/toolchain/bin-<lock key>` for
the folder of links that a lock's programs are run from. Answers questions about the cache; building is `build.py`'s.
"""

from __future__ import annotations

import os
from pathlib import Path

from gpu_sandbox.toolchain.table import Table, Tool, load_table

BIN_OVERRIDE = "GPU_SANDBOX_BIN"
"""Environment variable: a folder with the programs, used instead of the cache (a distribution's own builds, say)."""


class NotBuiltError(Exception):
    """Programs of the present lock are missing from the cache."""


def cache_root() -> Path:
    """`$GPU_SANDBOX_CACHE`, else `$XDG_CACHE_HOME/gpu-sandbox`, else `~/.cache/gpu-sandbox`."""
    if chosen := os.environ.get("GPU_SANDBOX_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gpu-sandbox"


def toolchain_cache() -> Path:
    return cache_root() / "toolchain"


def go_scratch() -> Path:
    """Go's module and build caches while a build is unfinished: 11 GiB, worth keeping only until the last program is built."""
    return toolchain_cache() / "go-scratch"


def binary_path(table: Table, tool: Tool) -> Path:
    return toolchain_cache() / f"{tool.name}-{table.key(tool)}"


def links_path(table: Table) -> Path:
    return toolchain_cache() / f"bin-{table.lock_key()}"


def missing_tools(table: Table) -> tuple[Tool, ...]:
    return tuple(tool for tool in table.tools if not binary_path(table, tool).is_file())


def bin_dir() -> Path:
    """The folder to put in front of PATH.

    Raises:
        NotBuiltError: the present lock has not been built.
    """
    if override := os.environ.get(BIN_OVERRIDE):
        return Path(override)
    links = links_path(load_table())
    if not (links / ".complete").is_file():
        raise NotBuiltError(
            "the sandbox's programs are not built yet; run `sandbox toolchain build` (about 15 minutes, once)"
        )
    return links
