"""Puts built images into a node's containerd and writes which they are to `<state>/images.json` for the stack to read."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gpu_sandbox.images.build import Image, ImageError


def present_references(ctr: Sequence[str]) -> frozenset[str]:
    """Names of the images that containerd holds in the namespace Kubernetes uses."""
    answer = subprocess.run([*ctr, "-n", "k8s.io", "images", "ls", "-q"], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ImageError(
            f"containerd does not answer (`{' '.join(ctr)}`): {answer.stderr.strip()}\nIs the sandbox up? `sandbox status` tells."
        )
    return frozenset(answer.stdout.split())


def load_images(images: Iterable[Image], ctr: Sequence[str], state_dir: Path, say: Callable[[str], None]) -> None:
    """Import what containerd lacks. `ctr` is the command with its address, as `("ctr", "--address", socket)`.

    Raises:
        ImageError: containerd does not answer or refuses an archive.
    """
    images = tuple(images)
    present = present_references(ctr)
    for image in images:
        if image.reference not in present:
            say(f"image {image.name}: {image.archive_bytes / 2**20:.0f} MiB into containerd as {image.reference}")
            command = [*ctr, "-n", "k8s.io", "images", "import", "--local", str(image.archive)]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode != 0:
                raise ImageError(f"{image.name}: containerd refused {image.archive}: {answer.stderr.strip()}")
    listing = state_dir / "images.json"
    partial = listing.with_suffix(".partial")
    partial.write_text(json.dumps({image.name: image.reference for image in images}, indent=2) + "\n")
    partial.rename(listing)
