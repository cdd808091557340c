"""`sandbox pulumi -- ARGUMENTS`: Pulumi's command line, pointed at the sandbox. Adds nothing to what Pulumi does."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gpu_sandbox.settings import DEFAULT_STATE_DIR, STATE_DIR_ENV, StatePaths
from gpu_sandbox.standins.install import environment, pulumi_binary
from gpu_sandbox.toolchain import NotBuiltError
from gpu_sandbox.toolchain.official import official_pulumi

# For the mounting application: everything after `pulumi` is Pulumi's.
CONTEXT_SETTINGS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def pulumi_command(
    arguments: Annotated[list[str] | None, typer.Argument(help="What to pass to pulumi.")] = None,
    state_dir: Annotated[
        Path, typer.Option(envvar=STATE_DIR_ENV, help="Where the sandbox keeps its data.")
    ] = DEFAULT_STATE_DIR,
) -> None:
    """Run Pulumi against the sandbox, with its own state, secrets and plugins."""
    if not StatePaths(state_dir).settings.is_file():
        # Pulumi's files in a folder without a sandbox would keep `sandbox up` from making one there.
        typer.echo(f"sandbox pulumi: there is no sandbox in {state_dir}; start one with `sandbox up`", err=True)
        raise typer.Exit(3)
    try:
        environ = environment(state_dir)
        binary = pulumi_binary(official_pulumi())
    except NotBuiltError as error:
        typer.echo(f"sandbox pulumi: {error}", err=True)
        raise typer.Exit(1) from error
    given = arguments or []
    asks_nothing = [] if sys.stdin.isatty() and sys.stdout.isatty() else ["--non-interactive"]
    sys.stdout.flush()
    os.execve(binary, [str(binary), *given, *asks_nothing], environ)  # noqa: S606 - becomes Pulumi, so signals reach it
