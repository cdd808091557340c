"""A process sees the devices whose nodes it may open, as with the real driver: cgroups and mount namespaces for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pynvml
import pytest

from gpu_sandbox import gpus
from tests.conformance.nvml import processes
from tests.conformance.nvml.gpu import Gpu

DEVICES = Path("/sys/fs/cgroup/devices")
COUNT = "print(nvmlDeviceGetCount())"
SEEN = """
for i in range(nvmlDeviceGetCount()):
    gpu = nvmlDeviceGetHandleByIndex(i)
    print("gpu", nvmlDeviceGetMinorNumber(gpu))
    for j in range(nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            mig = nvmlDeviceGetMigDeviceHandleByIndex(gpu, j)
        except NVMLError_NotFound:
            continue
        print("mig", nvmlDeviceGetGpuInstanceId(mig), nvmlDeviceGetComputeInstanceId(mig))
"""


@pytest.fixture
def two_gpus(install: Callable[..., gpus.DriverRoot], open_nvml: Callable[..., None]) -> gpus.DriverRoot:
    """Two A100: on the first a 3g at 4 (GI 2) and a 1g at 0 (GI 7), on the second a 1g at 0 (GI 7)."""
    root = install(count=2)
    open_nvml(root)
    Gpu(root, 0).create_device(9, 4, ci_profile=2)
    Gpu(root, 0).create_device(19, 0)
    Gpu(root, 1).create_device(19, 0)
    return root


@pytest.fixture
def cgroup() -> Iterator[Path]:
    if not (DEVICES / "devices.deny").exists() and not DEVICES.is_dir():
        pytest.skip("needs the device controller of cgroup v1; on v2 devices are denied by a BPF program")
    group = DEVICES / f"nvml-test-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    yield group
    group.rmdir()


def test_everything_is_seen_where_nothing_is_denied(two_gpus: gpus.DriverRoot) -> None:
    assert processes.run(two_gpus, SEEN).splitlines() == ["gpu 0", "mig 2 0", "mig 7 0", "gpu 1", "mig 7 0"]


def test_a_gpu_that_the_device_cgroup_denies_is_not_seen(two_gpus: gpus.DriverRoot, cgroup: Path) -> None:
    (cgroup / "devices.deny").write_text("c 195:0 rwm")
    seen = processes.run(two_gpus, SEEN, processes.in_cgroup(cgroup / "tasks"))
    assert seen.splitlines() == ["gpu 1", "mig 7 0"]


@pytest.mark.parametrize("denied", [21, 22], ids=["the GPU instance", "the compute instance"])
def test_a_mig_device_that_the_device_cgroup_denies_is_not_seen(
    denied: int, two_gpus: gpus.DriverRoot, cgroup: Path
) -> None:
    (cgroup / "devices.deny").write_text(f"c 511:{denied} rwm")
    seen = processes.run(two_gpus, SEEN, processes.in_cgroup(cgroup / "tasks"))
    assert seen.splitlines() == ["gpu 0", "mig 7 0", "gpu 1", "mig 7 0"]


def test_a_denied_control_node_is_the_unknown_error_that_containers_know(
    two_gpus: gpus.DriverRoot, cgroup: Path
) -> None:
    (cgroup / "devices.deny").write_text("c 195:255 rwm")
    with processes.start(two_gpus, COUNT, processes.in_cgroup(cgroup / "tasks")) as process:
        _, err = process.communicate(timeout=60)
    assert "NVMLError_Unknown" in err


def test_a_missing_control_node_means_no_driver(two_gpus: gpus.DriverRoot) -> None:
    (two_gpus.dev / "nvidiactl").unlink()
    with processes.start(two_gpus, COUNT) as process:
        _, err = process.communicate(timeout=60)
    assert "NVMLError_DriverNotLoaded" in err


def test_nodes_on_a_nodev_mount_are_not_seen(two_gpus: gpus.DriverRoot) -> None:
    dev = two_gpus.dev
    wrapper = processes.in_namespace(f"mount --bind {dev} {dev}", f"mount -o remount,bind,nodev {dev}")
    with processes.start(two_gpus, COUNT, wrapper) as process:
        _, err = process.communicate(timeout=60)
    assert "NVMLError_NoPermission" in err


def test_devices_that_appear_later_are_seen_by_a_running_process(a100: Gpu) -> None:
    assert a100.mig_uuids() == []
    processes.run(a100.root, "create_device(nvmlDeviceGetHandleByIndex(0), 19, 3)")
    assert len(a100.mig_uuids()) == 1


def test_a_read_only_state_gives_no_permission(two_gpus: gpus.DriverRoot) -> None:
    """As in a container: the state is mounted read-only, so root may look but not change."""
    state = two_gpus.state
    wrapper = processes.in_namespace(f"mount --bind {state} {state}", f"mount -o remount,bind,ro {state}")
    script = """
gpu = nvmlDeviceGetHandleByIndex(0)
device = nvmlDeviceGetMigDeviceHandleByIndex(gpu, 0)
print(nvmlDeviceGetName(device))
gi = nvmlDeviceGetGpuInstanceById(gpu, 7)
ci = nvmlGpuInstanceGetComputeInstanceById(gi, 0)
count = ctypes.c_uint()
for call in (
    lambda: nvmlDeviceCreateGpuInstance(gpu, 19),
    lambda: nvmlGpuInstanceCreateComputeInstance(gi, 0),
    lambda: nvmlComputeInstanceDestroy(ci),
    lambda: nvmlGpuInstanceDestroy(gi),
    lambda: nvmlDeviceSetMigMode(gpu, 0),
    lambda: nvmlDeviceSetPersistenceMode(gpu, 1),
    lambda: nvmlDeviceGetGpuInstancePossiblePlacements(gpu, 19, None, ctypes.byref(count)),
):
    try:
        call()
        print("allowed")
    except NVMLError_NoPermission:
        print("refused")
"""
    assert (
        processes.run(two_gpus, script, wrapper).splitlines() == ["NVIDIA A100-SXM4-40GB MIG 3g.20gb"] + ["refused"] * 7
    )


def _container(two_gpus: gpus.DriverRoot, into: Path, nodes: list[str]) -> list[str]:
    """A root file system with what a CDI specification injects: versioned library files, nvidia-smi, chosen nodes."""
    libraries = into / "usr/lib/x86_64-linux-gnu"
    for folder in (libraries, into / "usr/bin", into / "lib64", into / "dev/nvidia-caps"):
        folder.mkdir(parents=True)
    (into / "lib").symlink_to("usr/lib")
    listing = subprocess.run(["ldd", str(two_gpus.nvidia_smi)], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        for word in line.split():
            if word.startswith("/"):
                target = into / word.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, target)
    shutil.copy(two_gpus.nvidia_smi, into / "usr/bin/nvidia-smi")
    for library in two_gpus.library_dir.glob(f"*.so.{gpus.DRIVER_VERSION}"):
        (libraries / library.name).touch()
    mounts = [
        f"mount --bind {library} {libraries / library.name} && mount -o remount,bind,ro {libraries / library.name}"
        for library in two_gpus.library_dir.glob(f"*.so.{gpus.DRIVER_VERSION}")
    ]
    copies = [f"cp -a {two_gpus.dev / node} {into / 'dev' / node}" for node in nodes]
    return processes.in_namespace(*mounts, *copies, f'exec chroot {into} nvidia-smi "$@"')


def _run_inside(container: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    path = {"PATH": os.environ["PATH"]}  # and not the state that this process looks at
    return subprocess.run([*container, *arguments], env=path, capture_output=True, text=True, check=False)


def test_a_container_sees_the_gpu_line_and_only_its_own_mig_device(two_gpus: gpus.DriverRoot, tmp_path: Path) -> None:
    nodes = ["nvidiactl", "nvidia0", "nvidia-caps/nvidia-cap66", "nvidia-caps/nvidia-cap67"]
    run = _run_inside(_container(two_gpus, tmp_path / "container", nodes), "-L")
    assert run.returncode == 0, run.stderr
    gpu, mig = run.stdout.splitlines()
    uuid_of_gpu = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0))
    assert gpu == f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {uuid_of_gpu})"
    assert mig == f"  MIG 1g.5gb      Device  0: (UUID: {Gpu(two_gpus).mig_uuids()[1]})"


def test_a_container_cannot_change_what_it_sees(two_gpus: gpus.DriverRoot, tmp_path: Path) -> None:
    nodes = ["nvidiactl", "nvidia0", "nvidia-caps/nvidia-cap66", "nvidia-caps/nvidia-cap67"]
    run = _run_inside(_container(two_gpus, tmp_path / "container", nodes), "mig", "-dci")
    assert run.stdout.splitlines()[-1] == "Failed to destroy compute instances: Insufficient Permissions"
    assert run.returncode == pynvml.NVML_ERROR_NO_PERMISSION
    assert len(Gpu(two_gpus).mig_uuids()) == 2
