"""`sandbox stack`: the repository's Pulumi program on this sandbox, without having to know the CLI's environment."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gpu_sandbox.settings import StatePaths, state_dir_from_environment
from gpu_sandbox.stack.run import StackError, StackRunner

app = typer.Typer(help="The sandbox stack of this repository.", no_args_is_help=True)


def _runner() -> StackRunner:
    from gpu_sandbox.standins.install import environment  # noqa: PLC0415  starts the SDK's imports; only needed here

    paths = StatePaths(state_dir_from_environment())
    if not paths.kubeconfig.is_file():
        raise StackError(f"no sandbox runs in {paths.root}; `sandbox up` starts one")
    return StackRunner(environment(paths.root), paths.root / "pulumi", lambda text: print(text, flush=True))


def _fail(error: StackError) -> typer.Exit:
    print(f"sandbox: {error}", file=sys.stderr)
    return typer.Exit(1)


Extra = Annotated[list[str] | None, typer.Argument(help="After `--`: more arguments for the Pulumi CLI.")]


@app.command()
def up(extra: Extra = None) -> None:
    """`pulumi up`; goes on from where an interrupted run stopped."""
    try:
        _runner().up(extra or ())
    except StackError as error:
        raise _fail(error) from error


@app.command()
def preview(extra: Extra = None) -> None:
    """`pulumi preview` with the changes in full."""
    try:
        _runner().preview(extra or ())
    except StackError as error:
        raise _fail(error) from error


@app.command()
def destroy(
    extra: Extra = None,
    *,
    best_effort: Annotated[
        bool, typer.Option("--best-effort", help="Succeed even when something could not be destroyed.")
    ] = False,
) -> None:
    """`pulumi destroy`."""
    try:
        _runner().destroy(extra or ())
    except StackError as error:
        if best_effort:
            print(f"sandbox: {error}\nsandbox: going on, since the cluster takes everything with it", file=sys.stderr)
            return
        raise _fail(error) from error
