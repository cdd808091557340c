"""Simulated GPUs for conformance tests: each test gets its own driver root, reached through the real nvidia-ml-py."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from gpu_sandbox import gpus
from tests.conformance.nvml.gpu import Gpu


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nvml-build")


@pytest.fixture(scope="session")
def build(build_dir: Path) -> gpus.Build:
    return gpus.build_library(build_dir)


Install = Callable[..., gpus.DriverRoot]


@pytest.fixture
def install(tmp_path: Path, build_dir: Path, build: gpus.Build) -> Install:
    """`install(board, count, mig_enabled=True)` makes this test's driver root."""
    if os.geteuid() != 0:
        pytest.skip("device nodes can be made by root only")

    def make(
        board: str | Sequence[str] = "a100-sxm4-40gb", count: int | None = None, mig_enabled: bool = True
    ) -> gpus.DriverRoot:
        return gpus.install(tmp_path / "root", board, count, mig_enabled, root_id="test", build_dir=build_dir)

    return make


@pytest.fixture
def open_nvml(build: gpus.Build, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[gpus.DriverRoot], None]]:
    """Initialises nvidia-ml-py on a driver root, and shuts it down when the test is over.

    The library is loaded once per process. Its SONAME makes nvidia-ml-py's own CDLL("libnvidia-ml.so.1") find it.
    """
    import pynvml

    ctypes.CDLL(str(build.library))
    opened = 0

    def start(root: gpus.DriverRoot) -> None:
        nonlocal opened
        monkeypatch.setenv("NVML_SIM_STATE", str(root.state))
        pynvml.nvmlInit()
        opened += 1

    yield start
    for _ in range(opened):
        pynvml.nvmlShutdown()


@pytest.fixture
def make_gpu(install: Install, open_nvml: Callable[[gpus.DriverRoot], None]) -> Callable[..., Gpu]:
    """`make_gpu(board, mig_enabled=True)`: the only GPU of a new driver root."""

    def make(board: str = "a100-sxm4-40gb", mig_enabled: bool = True) -> Gpu:
        root = install(board, 1, mig_enabled)
        open_nvml(root)
        return Gpu(root)

    return make


@pytest.fixture
def a100(make_gpu: Callable[..., Gpu]) -> Gpu:
    return make_gpu("a100-sxm4-40gb")
