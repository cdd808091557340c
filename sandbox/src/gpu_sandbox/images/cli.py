"""`sandbox images`: build the images and, when the sandbox runs, load them into its containerd."""

from __future__ import annotations

import sys

import typer

from gpu_sandbox.images.base import BaseError
from gpu_sandbox.images.build import ImageError, build_images

app = typer.Typer(help="The driver's and the workloads' images.", no_args_is_help=True)


@app.command()
def build() -> None:
    """Build the images whose sources changed, from their Dockerfiles, into the cache."""
    try:
        for image in build_images(print):
            print(f"{image.name:10} {image.archive_bytes / 2**20:6.0f} MiB  {image.reference}")
    except (BaseError, ImageError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
