"""Builds the missing programs of a lock, one after another, each moved into the cache the moment it is whole.

So an interrupted build goes on where it stopped, two builds at once take turns, and a finished one is not repeated. The
Go tool itself uses every core, hence one program at a time. What each build printed is kept in `<cache>/toolchain/logs`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpu_sandbox.toolchain.cache import binary_path, go_scratch, links_path, missing_tools, toolchain_cache
from gpu_sandbox.toolchain.go import fetch_go, find_go
from gpu_sandbox.toolchain.official import official_pulumi
from gpu_sandbox.toolchain.table import Table, Tool

FREE_BYTES_NEEDED = 13 * 2**30
"""A cold build's peak in Go's module and build caches, measured at 11.2 GiB, and the programs themselves."""


class BuildError(Exception):
    """A program could not be built; the text names it, its log and the log's last lines."""


@dataclass(frozen=True)
class Step:
    """Progress of one program: `packages` compiled so far of at most `expected` (fewer when Go's own cache helps)."""

    tool: Tool
    position: int
    of: int
    packages: int
    expected: int
    seconds: float
    done: bool = False


Report = Callable[[Step], None]


@contextmanager
def _sole_builder(say: Callable[[str], None]) -> Iterator[None]:
    folder = toolchain_cache()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _environment(go: Path) -> dict[str, str]:
    scratch = go_scratch()
    chosen = {
        # GOFLAGS of the user could switch off the go.sum check or change the build; a C compiler must not matter either.
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -modcacherw",
        "GOWORK": "off",
        "PATH": f"{go.parent}:{os.environ['PATH']}",
    }
    return {"GOCACHE": str(scratch / "build"), "GOMODCACHE": str(scratch / "modules"), **os.environ, **chosen}


def _expected_packages(go: Path, module: Path, tool: Tool, environment: dict[str, str]) -> int:
    arguments: list[str | Path] = [
        go,
        "list",
        "-deps",
        f"-tags={','.join(tool.tags)}",
        "-f",
        "{{.ImportPath}}",
        tool.package,
    ]
    answer = subprocess.run(arguments, cwd=module, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise BuildError(
            f"{tool.name} {tool.version}: its Go modules could not be had:\n{answer.stderr.strip()[-2000:]}\n"
            "Check the network and the GOPROXY setting, then run the same command again; what is finished is kept."
        )
    return len(answer.stdout.splitlines())


def _build(go: Path, table: Table, tool: Tool, report: Report, *, position: int, of: int) -> None:
    environment = _environment(go)
    module = table.folder / tool.module
    target = binary_path(table, tool)
    partial = target.with_name(f".{target.name}.partial")
    log_path = toolchain_cache() / "logs" / f"{tool.name}.log"
    log_path.parent.mkdir(exist_ok=True)
    start = time.monotonic()
    report(Step(tool, position, of, 0, 0, 0.0))
    expected = _expected_packages(go, module, tool, environment)
    arguments: list[str | Path] = [go, "build", "-v", "-trimpath", f"-tags={','.join(tool.tags)}"]
    arguments += [f"-ldflags=-s -w {tool.ldflags}".rstrip(), "-o", partial, tool.package]
    tail: deque[str] = deque(maxlen=25)
    packages = 0
    with (
        log_path.open("w") as log,
        subprocess.Popen(
            arguments, cwd=module, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as build,
    ):
        try:
            for line in build.stdout or ():
                log.write(line)
                tail.append(line.rstrip())
                packages += " " not in line.strip()
                report(Step(tool, position, of, packages, expected, time.monotonic() - start))
        except BaseException:
            build.terminate()
            raise
    if build.returncode != 0:
        partial.unlink(missing_ok=True)
        raise BuildError(f"{tool.name} {tool.version} did not build (log: {log_path}):\n  " + "\n  ".join(tail))
    partial.rename(target)
    report(Step(tool, position, of, packages, expected, time.monotonic() - start, done=True))


def _link(table: Table, tools: tuple[Tool, ...]) -> Path:
    links = links_path(table)
    if links.exists():
        shutil.rmtree(links)
    links.mkdir()
    for tool in tools:
        (links / tool.name).symlink_to(binary_path(table, tool))
    (links / ".complete").touch()
    return links


def _wanted(table: Table) -> tuple[Tool, ...]:
    skip_official = official_pulumi() is not None
    return tuple(tool for tool in table.tools if not (tool.unless_official and skip_official))


def _require_space(share: float) -> None:
    """Raise BuildError unless there is room for building this share of the programs."""
    free, needed = shutil.disk_usage(toolchain_cache()).free, FREE_BYTES_NEEDED * share
    if free < needed:
        raise BuildError(
            f"{free / 2**30:.1f} GiB free under {toolchain_cache()}, and the build needs up to {needed / 2**30:.1f} GiB until it is done. "
            "Free some, or set GPU_SANDBOX_CACHE to a folder on a larger disk."
        )


def build(table: Table, report: Report, say: Callable[[str], None]) -> Path:
    """Build what is missing and return the folder of links.

    Raises:
        BuildError: modules could not be fetched, a compile failed, or the disk is too full to start.
        GoMissingError: there is no Go and none could be fetched.
    """
    wanted = _wanted(table)
    links = links_path(table)
    if (links / ".complete").is_file() and all((links / tool.name).is_file() for tool in wanted):
        return links
    with _sole_builder(say):
        todo = tuple(tool for tool in missing_tools(table) if tool in wanted)
        if todo:
            _require_space(len(todo) / len(wanted))
            go = find_go(table)
            if go is None:
                say(f"no Go {table.minimum_go} or newer here; fetching the pinned one into the cache")
                go = fetch_go(table)
            for position, tool in enumerate(todo, start=1):
                _build(go, table, tool, report, position=position, of=len(todo))
            shutil.rmtree(go_scratch(), ignore_errors=True)
        return _link(table, tuple(tool for tool in wanted if binary_path(table, tool).is_file()))


def prune(table: Table) -> list[Path]:
    """Remove binaries of other locks from the cache; returns what went."""
    keep = {binary_path(table, tool) for tool in table.tools} | {links_path(table)}
    gone = []
    for path in sorted(toolchain_cache().glob("*-" + "[0-9a-f]" * 16)):
        if path not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            gone.append(path)
    return gone
