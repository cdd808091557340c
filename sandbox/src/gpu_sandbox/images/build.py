"""Builds images from their Dockerfiles with buildah, without a daemon, a registry or root's container storage.

Every build goes into its own storage under the cache; the result is one archive per image, named by content and uncompressed, since it is read more often than it is made.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gpu_sandbox.images.base import Base, make_base
from gpu_sandbox.toolchain import cache_root

REPOSITORY = Path(__file__).resolve().parents[4]

POLICY = {"default": [{"type": "insecureAcceptAnything"}]}
"""buildah wants a signature policy even when nothing is pulled; only images made here pass through it."""


class ImageError(Exception):
    """An image could not be built; names the image and carries the tool's last lines."""


@dataclass(frozen=True)
class Image:
    """A built image: `name` as the stack knows it, `reference` as Kubernetes pulls it, `archive` what a runtime imports."""

    name: str
    reference: str
    archive: Path

    @property
    def archive_bytes(self) -> int:
        return self.archive.stat().st_size


@dataclass(frozen=True)
class Recipe:
    """How one image is made: `sources` decide its name; `context(folder)` fills the build context."""

    name: str
    repository: str
    sources: tuple[Path, ...]
    context: Callable[[Path], None]


def _copy_workload_context(folder: Path) -> None:
    shutil.copytree(REPOSITORY / "sandbox/images/workload", folder, dirs_exist_ok=True)


def _assemble_driver_context(folder: Path) -> None:
    script = REPOSITORY / "driver/tools/build_context"
    answer = subprocess.run([script, folder], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ImageError(
            f"driver: `driver/tools/build_context` failed:\n{(answer.stdout + answer.stderr).strip()[-3000:]}"
        )


RECIPES = (
    Recipe(
        "driver",
        "localhost/gpu-dra-driver",
        tuple(
            REPOSITORY / path
            for path in (
                "driver/Dockerfile",
                "driver/pyproject.toml",
                "driver/requirements.lock",
                "driver/src",
                "driver/tools",
                "catalog/pyproject.toml",
                "catalog/src",
            )
        ),
        _assemble_driver_context,
    ),
    Recipe(
        "workload", "localhost/gpu-sandbox-workload", (REPOSITORY / "sandbox/images/workload",), _copy_workload_context
    ),
)


def files_of(sources: Iterable[Path]) -> list[Path]:
    """Every file below the sources, sorted, without caches that Python leaves behind."""
    found: list[Path] = []
    for source in sources:
        found += [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    return sorted(path for path in found if "__pycache__" not in path.parts and not path.name.endswith(".egg-info"))


def content_key(base: Base, sources: Iterable[Path], root: Path = REPOSITORY) -> str:
    """12 hex digits over the base and each source file's path, mode and bytes."""
    digest = hashlib.sha256(base.key.encode())
    for path in files_of(sources):
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"\0{path.relative_to(root)}\0{executable}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Buildah:
    """buildah bound to one storage folder; chroot isolation, so it works where user namespaces and cgroups do not."""

    def __init__(self, storage: Path) -> None:
        storage.mkdir(parents=True, exist_ok=True)
        self._policy = storage / "policy.json"
        self._policy.write_text(json.dumps(POLICY))
        self._command = [
            "buildah",
            "--root",
            str(storage / "root"),
            "--runroot",
            str(storage / "run"),
            "--storage-driver",
            "overlay",
        ]

    def run(self, *arguments: str, what: str) -> str:
        answer = subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            lines = (answer.stdout + answer.stderr).strip().splitlines()[-25:]
            raise ImageError(f"{what}: `buildah {arguments[0]}` failed:\n  " + "\n  ".join(lines))
        return answer.stdout.strip()

    def has(self, reference: str) -> bool:
        return bool(
            subprocess.run(
                [*self._command, "images", "--quiet", reference], capture_output=True, check=False
            ).stdout.strip()
        )

    def import_base(self, base: Base) -> None:
        if self.has(base.reference):
            return
        container = self.run("from", "scratch", what="base")
        self.run("add", "--quiet", container, str(base.tar), "/", what="base")
        self.run(
            "config",
            "--env",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            container,
            what="base",
        )
        self.run(
            "commit", "--quiet", "--rm", "--signature-policy", str(self._policy), container, base.reference, what="base"
        )

    def build(self, name: str, reference: str, base: Base, context: Path, archive: Path) -> None:
        policy = ("--signature-policy", str(self._policy))
        arguments = (
            "--quiet",
            "--isolation",
            "chroot",
            "--pull-never",
            "--build-arg",
            f"BASE={base.reference}",
            "--tag",
            reference,
        )
        self.run("bud", *policy, *arguments, "--file", str(context / "Dockerfile"), str(context), what=name)
        partial = archive.with_name(f".{archive.name}")
        partial.unlink(missing_ok=True)
        self.run("push", "--quiet", *policy, reference, f"docker-archive:{partial}:{reference}", what=name)
        partial.rename(archive)


def build_images(say: Callable[[str], None], folder: Path | None = None) -> tuple[Image, ...]:
    """Build every image whose sources changed; returns all of them.

    Raises:
        ImageError, BaseError: with the failing tool's last lines.
    """
    folder = folder or cache_root() / "images"
    base = make_base(folder, say)
    images = []
    buildah: Buildah | None = None
    for recipe in RECIPES:
        key = content_key(base, recipe.sources)
        image = Image(recipe.name, f"{recipe.repository}:{key}", folder / f"{recipe.name}-{key}.tar")
        if not image.archive.is_file():
            say(f"image {recipe.name}: building")
            buildah = buildah or Buildah(folder / "buildah")
            buildah.import_base(base)
            with tempfile.TemporaryDirectory(prefix=f"gpu-sandbox-{recipe.name}-") as scratch:
                recipe.context(Path(scratch))
                buildah.build(recipe.name, image.reference, base, Path(scratch), image.archive)
            for older in folder.glob(f"{recipe.name}-*.tar"):
                if older != image.archive:
                    older.unlink()
        images.append(image)
    return tuple(images)
