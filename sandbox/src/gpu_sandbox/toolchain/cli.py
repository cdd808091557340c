"""`sandbox toolchain`: build the programs, show the table, print where they are, clean old ones out."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from gpu_sandbox.toolchain.build import BuildError, Step, prune
from gpu_sandbox.toolchain.build import build as build_all
from gpu_sandbox.toolchain.cache import NotBuiltError, bin_dir, binary_path
from gpu_sandbox.toolchain.debian import PackagesMissingError, ensure_packages
from gpu_sandbox.toolchain.go import GoMissingError
from gpu_sandbox.toolchain.official import official_pulumi
from gpu_sandbox.toolchain.table import TableError, load_table

app = typer.Typer(help="The pinned programs the sandbox is made of.", no_args_is_help=True)

LINE_EVERY_SECONDS = 15.0
"""How often a build says something when its output is a file and not a terminal."""


class PlainReport:
    """Progress as lines, for logs and CI."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        head = f"[{step.position}/{step.of}] {step.tool.name} {step.tool.version}"
        if step.done:
            print(f"{head}: built in {step.seconds:.0f} s", flush=True)
        elif step.packages == 0 or now - self._last > LINE_EVERY_SECONDS:
            self._last = now
            state = (
                f"{step.packages} of at most {step.expected} packages, {step.seconds:.0f} s"
                if step.expected
                else "fetching modules"
            )
            print(f"{head}: {state}", flush=True)


class BarReport:
    """Progress as one bar per program, for terminals."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, int] = {}

    def __call__(self, step: Step) -> None:
        name = step.tool.name
        if name not in self._bars:
            label = f"[{step.position}/{step.of}] {name} {step.tool.version}"
            self._bars[name] = int(self._progress.add_task(label, total=None))
        if step.done:
            self._progress.update(self._bars[name], total=1, completed=1)  # type: ignore[arg-type]
        elif step.expected:
            self._progress.update(self._bars[name], total=step.expected, completed=step.packages)  # type: ignore[arg-type]


def fail(error: Exception) -> typer.Exit:
    print(f"sandbox: {error}", file=sys.stderr)
    return typer.Exit(2)


def ensure_built() -> None:
    """Packages installed and programs built, with progress on the terminal or as lines. Exits with 2 on failure."""
    console = Console()
    try:
        ensure_packages(console.print)
        table = load_table()
        if console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            with Progress(*columns, console=console) as progress:
                build_all(table, BarReport(progress), console.print)
        else:
            build_all(table, PlainReport(), console.print)
    except (BuildError, GoMissingError, PackagesMissingError, TableError) as error:
        raise fail(error) from error
    except KeyboardInterrupt:
        print("\nsandbox: interrupted; what is finished is kept, run the same command to go on", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command()
def build() -> None:
    """Install missing Debian packages and build missing programs into the per-user cache."""
    ensure_built()
    print(f"programs: {bin_dir()}")


@app.command()
def table() -> None:
    """Every program with version, source, flags and whether it is built."""
    try:
        loaded = load_table()
    except TableError as error:
        raise fail(error) from error
    official = official_pulumi()
    view = RichTable(box=None, pad_edge=False)
    view.add_column("program", no_wrap=True)
    view.add_column("version", no_wrap=True)
    view.add_column("state", no_wrap=True)
    view.add_column("Go package", overflow="fold")
    view.add_column("tags", overflow="fold")
    for tool in loaded.tools:
        state = "built" if binary_path(loaded, tool).is_file() else "not built"
        if tool.unless_official and official is not None:
            state = f"official: {official}"
        view.add_row(tool.name, tool.version, state, tool.package, " ".join(tool.tags))
    Console().print(view)


@app.command()
def path() -> None:
    """The folder of the built programs, to put on PATH."""
    try:
        print(bin_dir())
    except (NotBuiltError, TableError) as error:
        raise fail(error) from error


@app.command()
def clean(
    *, everything: Annotated[bool, typer.Option("--all", help="Also remove the programs of the present lock.")] = False
) -> None:
    """Remove programs of older locks from the cache."""
    loaded = load_table()
    gone = prune(loaded)
    if everything:
        for tool in loaded.tools:
            target = binary_path(loaded, tool)
            if target.is_file():
                target.unlink()
                gone.append(target)
    print(f"removed {len(gone)} files")
