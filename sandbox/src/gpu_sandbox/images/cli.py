"""`sandbox images`: build the images, and load them into the running sandbox's containerd."""

from __future__ import annotations

import sys

import typer

from gpu_sandbox.images.base import BaseError
from gpu_sandbox.images.build import Image, ImageError, build_images
from gpu_sandbox.images.load import load_images
from gpu_sandbox.settings import StatePaths, read_settings, state_dir_from_environment

app = typer.Typer(help="The driver's and the workloads' images.", no_args_is_help=True)


def _say(text: str) -> None:
    print(text, flush=True)


def _fail(error: object) -> typer.Exit:
    print(f"sandbox: {error}", file=sys.stderr)
    return typer.Exit(2)


def _built() -> tuple[Image, ...]:
    try:
        return build_images(_say)
    except (BaseError, ImageError) as error:
        raise _fail(error) from error


@app.command()
def build() -> None:
    """Build the images whose sources changed, from their Dockerfiles, into the cache."""
    for image in _built():
        print(f"{image.name:10} {image.archive_bytes / 2**20:6.0f} MiB  {image.reference}")


@app.command()
def load() -> None:
    """Build what changed and import it into the sandbox; the stack reads which images from its state directory."""
    paths = StatePaths(state_dir_from_environment())
    settings = read_settings(paths)
    if settings is None:
        raise _fail(f"no sandbox runs in {paths.root}; `sandbox up` starts one")
    ctr = (str(settings.bin_dir / "ctr"), "--address", str(paths.containerd_socket))
    try:
        load_images(_built(), ctr, paths.root, _say)
    except ImageError as error:
        raise _fail(error) from error
