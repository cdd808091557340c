"""Running sandboxes for tests: each in its own state directory and on its own port, beside any sandbox of the user."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpu_sandbox import lifecycle, preflight
from gpu_sandbox.components import required_programs
from gpu_sandbox.errors import SandboxError
from gpu_sandbox.settings import STATE_DIR_ENV, Extent, Settings, SettingsError, StatePaths, binaries

_DIRECTORY = Path("/tmp")  # the path must be short, see MAX_STATE_DIR_BYTES
_PREFIX = "gst-"


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox under test."""

    paths: StatePaths
    settings: Settings

    @property
    def state_dir(self) -> Path:
        return self.paths.root

    @property
    def kubeconfig(self) -> Path:
        return self.paths.kubeconfig

    @property
    def environment(self) -> dict[str, str]:
        """For commands that shall talk to this sandbox."""
        return os.environ | {STATE_DIR_ENV: str(self.state_dir), "KUBECONFIG": str(self.kubeconfig)}

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator; its output is captured, and shown when it fails."""
        return _run([str(self.settings.bin_dir / "kubectl"), *arguments], self.environment, stdin=stdin, check=check)

    def sandbox(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the `sandbox` command on this sandbox."""
        return _run([sys.executable, "-m", "gpu_sandbox.cli", *arguments], self.environment, check=check)

    def import_image(self, archive: Path) -> None:
        """Load an image archive into the node's containerd."""
        self.sandbox("ctr", "images", "import", str(archive))


def _run(
    command: list[str], environment: dict[str, str], *, stdin: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        command, env=environment, input=stdin, capture_output=True, text=True, check=False, timeout=120
    )
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def state_dir(name: str) -> Path:
    """A state directory of this test process; `name` is one or two letters."""
    return _DIRECTORY / f"{_PREFIX}{name}{os.getpid()}"


def require(extent: Extent) -> None:
    """Skip where no sandbox can run at all; a machine that could but lacks programs fails the test instead."""
    problems = preflight.check_platform()
    if problems:
        pytest.skip(problems[0].what)
    try:
        directory = binaries()
    except SettingsError as error:
        pytest.fail(str(error))
    settings = Settings(sandbox_id="", bin_dir=directory, extent=extent)
    missing = [name for name in (*required_programs(settings), "kubectl") if not (directory / name).is_file()]
    if missing:
        pytest.fail(f"{directory} lacks {', '.join(missing)}; run `sandbox toolchain build`")


@contextlib.contextmanager
def running(name: str, options: lifecycle.Options, progress: Callable[[str], None] = print) -> Iterator[RunningSandbox]:
    """A sandbox from up to down; nothing of it is left, whatever the test does."""
    require(options.extent or Extent.CLUSTER)
    _remove_abandoned()
    paths = StatePaths(state_dir(name))
    try:
        up = lifecycle.up(paths, options, progress)
        yield RunningSandbox(paths, up.settings)
    finally:
        lifecycle.down(paths, progress)


def _remove_abandoned() -> None:
    """Take down what an earlier, killed test run left."""
    for directory in _DIRECTORY.glob(f"{_PREFIX}*"):
        process = directory.name.removeprefix(_PREFIX).lstrip("abcdefghijklmnopqrstuvwxyz")
        if process.isdigit() and not Path("/proc", process).exists():
            with contextlib.suppress(SandboxError):
                lifecycle.down(StatePaths(directory), print)
            shutil.rmtree(directory, ignore_errors=True)
