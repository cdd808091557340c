"""What is in the way is found before anything is started, all of it at once, with what to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_sandbox import preflight
from gpu_sandbox.settings import Extent, Settings, StatePaths

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the checks themselves need root")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with all programs, as far as names go."""
    for name in ("etcd", "kube-apiserver"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def _settings(programs: Path, port: int = 0) -> Settings:
    return Settings(sandbox_id="00000000", bin_dir=programs, api_port=port, extent=Extent.API)


def _all(problems: tuple[preflight.Problem, ...]) -> str:
    return str(preflight.PreflightError(problems))


@needs_root
def test_nothing_in_the_way_is_no_problem_and_leaves_no_trace(programs: Path) -> None:
    before = sorted(Path("/tmp").iterdir())
    assert preflight.check(StatePaths(Path("/tmp/gst-none")), _settings(programs)) == ()
    assert sorted(Path("/tmp").iterdir()) == before


@needs_root
def test_the_process_that_holds_the_port_is_named(programs: Path, taken_port: int) -> None:
    text = _all(preflight.check(StatePaths(Path("/tmp/gst-none")), _settings(programs, taken_port)))
    assert f"port {taken_port} of 127.0.0.1 cannot be used" in text
    assert f"process {os.getpid()} holds it" in text
    assert "--api-port" in text


@needs_root
def test_everything_is_said_at_once(tmp_path: Path, taken_port: int) -> None:
    state_dir = Path("/tmp/a-path-that-is-too-long-for-sockets")
    problems = preflight.check(StatePaths(state_dir), _settings(tmp_path, taken_port))
    text = _all(problems)
    assert "too long" in text
    assert "run `sandbox toolchain build`" in text
    assert "cannot be used" in text
    assert len(problems) == 3
    assert all(problem.remedy for problem in problems)


@needs_root
@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("/run/sandbox", "lies in /run"),
        ("/tmp/a b", "plain characters"),
        ("relative", "not an absolute path"),
    ],
)
def test_places_that_cannot_work(programs: Path, directory: str, said: str) -> None:
    assert said in _all(preflight.check(StatePaths(Path(directory)), _settings(programs)))


_GIB = 1 << 30


@pytest.mark.parametrize(
    ("extent", "memory", "disk", "said"),
    [
        (Extent.CLUSTER, 3 * _GIB, 5 * _GIB, []),
        (Extent.CLUSTER, 3 * _GIB - 1, 5 * _GIB, ["needs 3 GiB"]),
        (Extent.CLUSTER, 8 * _GIB, 5 * _GIB - 1, ["needs 5 GiB"]),
        (Extent.CLUSTER, 0, 0, ["0.0 GiB of memory are available", "0.0 GiB are free in /data"]),
        (Extent.API, 1 * _GIB, 1 * _GIB, []),
    ],
)
def test_memory_and_disk(extent: Extent, memory: int, disk: int, said: list[str]) -> None:
    settings = Settings(sandbox_id="00000000", bin_dir=Path("/b"), extent=extent)
    problems = list(preflight.check_amounts(settings, memory=memory, disk=disk, disk_of=Path("/data")))
    assert len(problems) == len(said)
    assert all(text in problem.what for text, problem in zip(said, problems, strict=True))


@needs_root
def test_a_directory_with_someone_elses_files_is_left_alone(programs: Path) -> None:
    directory = Path(f"/tmp/gst-f{os.getpid()}")
    directory.mkdir()
    try:
        (directory / "thesis.txt").touch()
        assert "not a sandbox's" in _all(preflight.check(StatePaths(directory), _settings(programs)))
    finally:
        (directory / "thesis.txt").unlink()
        directory.rmdir()


@needs_root
def test_without_root_the_remedy_is_root() -> None:
    become_nobody = "import os; from gpu_sandbox import preflight; os.setuid(65534); "
    result = subprocess.run(
        [sys.executable, "-c", become_nobody + "print(preflight.check_platform()[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "user 65534 may not" in result.stdout
    assert "as root" in result.stdout
