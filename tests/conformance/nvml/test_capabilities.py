"""The files a kernel module shows for MIG instances."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest

from gpu_sandbox import gpus
from tests.conformance.nvml.gpu import Gpu, where


@pytest.fixture
def eight(install: Callable[..., gpus.DriverRoot], open_nvml: Callable[..., None]) -> gpus.DriverRoot:
    root = install()
    open_nvml(root)
    return root


def access_file(root: gpus.DriverRoot, gpu: int, gi: int, ci: int | None = None) -> Path:
    below = f"gi{gi}" if ci is None else f"gi{gi}/ci{ci}"
    return root.proc_driver / f"capabilities/gpu{gpu}/mig/{below}/access"


def minor_of(path: Path) -> int:
    fields = dict(line.split(": ") for line in path.read_text().splitlines())
    assert fields["DeviceFileMode"] == "292"
    assert fields["DeviceFileModify"] == "1"
    return int(fields["DeviceFileMinor"])


@pytest.mark.parametrize(
    ("gpu", "profile", "start", "minors"),
    [(0, 0, 0, (3, 4)), (0, 19, 6, (120, 121)), (7, 9, 0, (957, 958)), (7, 19, 6, (1065, 1066))],
)
def test_minor_numbers(gpu: int, profile: int, start: int, minors: tuple[int, int], eight: gpus.DriverRoot) -> None:
    instance = Gpu(eight, gpu).create(profile, start)
    gi = where(instance)[0]
    pynvml.nvmlGpuInstanceCreateComputeInstance(instance, 0)
    assert (minor_of(access_file(eight, gpu, gi)), minor_of(access_file(eight, gpu, gi, 0))) == minors
    assert minors[0] == 3 + gpu * 135 + gi * 9


def test_minors_agree_with_the_kernels_table(a100: Gpu) -> None:
    table = dict(
        line.split() for line in (a100.root.path / "proc/driver/nvidia-caps/mig-minors").read_text().splitlines()
    )
    gi = a100.create(9, 4)
    for _ in range(3):
        pynvml.nvmlGpuInstanceCreateComputeInstance(gi, 0)
    for path in a100.root.proc_driver.glob("capabilities/gpu0/mig/**/access"):
        name = str(path.relative_to(a100.root.proc_driver / "capabilities")).replace("/mig/", "/")
        assert table[name] == str(minor_of(path))
    assert len(list(a100.root.proc_driver.glob("capabilities/gpu0/mig/**/access"))) == 4
    assert (table["config"], table["monitor"]) == ("1", "2")


def test_each_instance_has_a_device_node_with_the_major_of_proc_devices(a100: Gpu) -> None:
    a100.create_device(19, 0)
    (caps_line,) = (each for each in a100.root.proc_devices.read_text().splitlines() if "nvidia-caps" in each)
    for minor in (minor_of(access_file(a100.root, 0, 7)), minor_of(access_file(a100.root, 0, 7, 0))):
        node = (a100.root.dev / f"nvidia-caps/nvidia-cap{minor}").stat()
        assert stat.S_ISCHR(node.st_mode)
        assert node.st_rdev == os.makedev(int(caps_line.split()[0]), minor)
        assert stat.S_IMODE(node.st_mode) == 0o444


def test_files_go_when_instances_go(a100: Gpu) -> None:
    before = {path for path in a100.root.path.rglob("*") if "/mig/gi" in str(path) or "nvidia-caps/" in str(path)}
    a100.create_device(19, 0)
    a100.create_device(9, 4, ci_profile=2)
    for gi in (7, 2):
        a100.destroy(gi)
    after = {path for path in a100.root.path.rglob("*") if "/mig/gi" in str(path) or "nvidia-caps/" in str(path)}
    assert after == before


def test_an_umask_does_not_make_nodes_unreadable(a100: Gpu) -> None:
    old = os.umask(0o077)
    try:
        a100.create_device(19, 0)
    finally:
        os.umask(old)
    assert stat.S_IMODE(access_file(a100.root, 0, 7, 0).stat().st_mode) == 0o444
    assert stat.S_IMODE((a100.root.dev / "nvidia-caps/nvidia-cap66").stat().st_mode) == 0o444


def test_creation_that_cannot_make_its_node_leaves_nothing(a100: Gpu) -> None:
    caps = a100.root.dev / "nvidia-caps"
    caps.rename(caps.with_name("elsewhere"))
    with pytest.raises(pynvml.NVMLError):
        a100.create(19, 0)
    caps.with_name("elsewhere").rename(caps)
    assert a100.instances(19) == []
    assert not access_file(a100.root, 0, 7).exists()
    a100.create(19, 0)
