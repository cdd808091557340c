"""A Pulumi home for one sandbox: its plugins, its state, its passphrase, and the environment that uses them.

Owns the choice between Pulumi's own binaries and the stand-ins. Official ones win wherever they are found; a stand-in
is placed only for what is missing. Touches nothing outside the sandbox's state directory.
"""

import importlib.metadata
import os
import secrets
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from gpu_sandbox.settings import StatePaths, binaries
from gpu_sandbox.toolchain.official import official_pulumi


@dataclass(frozen=True)
class PulumiHome:
    """The directories of one sandbox's Pulumi."""

    root: Path

    @property
    def plugins(self) -> Path:
        return self.root / "plugins"

    @property
    def backend(self) -> Path:
        return self.root / "backend"

    @property
    def passphrase(self) -> Path:
        return self.root / "passphrase"


def pulumi_binary(official: Path | None) -> Path:
    """The command line to run: the official one, or the toolchain's."""
    return official or binaries() / "pulumi"


def environment(state_dir: Path) -> dict[str, str]:
    """The complete environment in which `pulumi` works on this sandbox. Prepares the home if needed."""
    official = official_pulumi()
    home = prepare(state_dir, official)
    inherited = {name: value for name, value in os.environ.items() if name != "PULUMI_CONFIG_PASSPHRASE"}
    path = inherited.get("PATH", os.defpath)
    # The toolchain has kubectl and helm; its pulumi must not hide an official one.
    directories = [path, str(binaries())] if official else [str(binaries()), path]
    return inherited | {
        "PATH": os.pathsep.join(directories),
        "PULUMI_HOME": str(home.root),
        "PULUMI_BACKEND_URL": f"file://{home.backend}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(home.passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "KUBECONFIG": str(StatePaths(state_dir).kubeconfig),
    }


def prepare(state_dir: Path, official: Path | None) -> PulumiHome:
    """Make the home; running it again changes nothing that is right."""
    home = PulumiHome(state_dir / "pulumi")
    for directory in (home.root, home.plugins, home.backend):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_passphrase(home.passphrase)
    language = home.plugins / f"language-python-v{importlib.metadata.version('pulumi')}"
    if official:
        _remove(language)
    else:
        _write_launcher(language / "pulumi-language-python", "gpu_sandbox.standins.language_python")
    _place_kubernetes(home)
    return home


def _place_kubernetes(home: PulumiHome) -> None:
    """The Kubernetes provider of exactly the SDK's version, because the engine takes no other from a home."""
    try:
        version = importlib.metadata.version("pulumi-kubernetes")
    except importlib.metadata.PackageNotFoundError:
        return  # no program in this environment can ask for one
    placed = home.plugins / f"resource-kubernetes-v{version}"
    if shutil.which("pulumi-resource-kubernetes"):
        _remove(placed)
        return
    installed = Path.home() / ".pulumi" / "plugins" / placed.name
    if (installed / "pulumi-resource-kubernetes").exists():
        if not placed.is_symlink():
            _remove(placed)
            placed.symlink_to(installed)
        return
    if placed.is_symlink():
        placed.unlink()
    _write_launcher(
        placed / "pulumi-resource-kubernetes", "gpu_sandbox.standins.kubernetes", "--plugin-version", version
    )


def _write_launcher(path: Path, module: str, *arguments: str) -> None:
    """An executable that runs a stand-in with this interpreter. Replaced in one step: an engine may be starting it."""
    command = shlex.join([sys.executable, "-m", module, *arguments])
    text = f'#!/bin/sh\nexec {command} "$@"\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text() == text:
        return
    replacement = path.with_suffix(".new")
    replacement.write_text(text)
    replacement.chmod(0o755)
    replacement.replace(path)


def _write_passphrase(path: Path) -> None:
    """Random, once: it protects the secrets of this sandbox's stacks and goes away with the state directory."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32))


def _remove(placed: Path) -> None:
    if placed.is_symlink():
        placed.unlink()
    elif placed.exists():
        shutil.rmtree(placed)
