"""Installation: the layout a driver looks for, repeating it, replacing it, removing it, and clear refusals."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest
from typer.testing import CliRunner

from gpu_catalog.boards import UnknownBoardError
from gpu_sandbox import gpus
from gpu_sandbox.gpus.cli import app
from tests.conformance.nvml import processes
from tests.conformance.nvml.gpu import Gpu

Install = Callable[..., gpus.DriverRoot]


def test_the_layout(install: Install) -> None:
    root = install()
    library = root.library_dir / f"libnvidia-ml.so.{gpus.DRIVER_VERSION}"
    assert root.library.resolve() == library.resolve()
    assert root.state.name == f"libnvidia-sim-state.so.{gpus.DRIVER_VERSION}"  # found by the glob for driver libraries
    for name, major, minor in (
        *((f"nvidia{index}", 195, index) for index in range(8)),
        ("nvidiactl", 195, 255),
        ("nvidia-uvm", 510, 0),
        ("nvidia-uvm-tools", 510, 1),
        ("nvidia-caps/nvidia-cap1", 511, 1),
        ("nvidia-caps/nvidia-cap2", 511, 2),
    ):
        node = (root.dev / name).stat()
        assert stat.S_ISCHR(node.st_mode), name
        assert node.st_rdev == os.makedev(major, minor), name
    assert "simulated" in (root.proc_driver / "version").read_text()
    assert (root.proc_driver / "capabilities/mig/config").read_text().startswith("DeviceFileMinor: 1\n")
    devices = root.proc_devices.read_text()
    assert {"195 nvidia", "510 nvidia-uvm", "511 nvidia-caps"} <= set(devices.splitlines())
    assert "Block devices:" in devices
    information = (root.proc_driver / "gpus/0000:10:1c.0/information").read_text()
    assert "NVIDIA A100-SXM4-40GB" in information


def test_installing_again_changes_nothing(install: Install, open_nvml: Callable[..., None]) -> None:
    root = install(count=2)
    open_nvml(root)
    device = Gpu(root).create_device(19, 0).device
    uuid = pynvml.nvmlDeviceGetUUID(device)
    before = {path: path.lstat().st_mtime_ns for path in root.path.rglob("*") if not path.is_dir()}
    assert install(count=2) == root
    assert {path: path.lstat().st_mtime_ns for path in root.path.rglob("*") if not path.is_dir()} == before
    assert pynvml.nvmlDeviceGetUUID(device) == uuid


def test_installing_again_mends_what_is_missing(install: Install) -> None:
    root = install(count=2)
    (root.dev / "nvidia1").unlink()
    root.library.unlink()
    root.nvidia_smi.write_text("broken")
    install(count=2)
    listing = subprocess.run([str(root.nvidia_smi), "-L"], env={}, capture_output=True, text=True, check=True).stdout
    assert len(listing.splitlines()) == 2
    assert root.library.is_symlink()


def test_other_gpus_replace_the_old_ones_and_keep_the_files_identity(install: Install) -> None:
    root = install(count=8)
    inode = root.state.stat().st_ino
    install("h100-80gb-hbm3", 2)
    assert root.state.stat().st_ino == inode  # containers have it mounted
    assert [gpu.product_name for gpu in gpus.read(root.path).gpus] == ["NVIDIA H100 80GB HBM3"] * 2
    assert not (root.dev / "nvidia2").exists()
    assert len(list((root.sysfs / "bus/pci/devices").iterdir())) == 2


def test_uuids_belong_to_the_installation(tmp_path: Path, build_dir: Path) -> None:
    def uuids(name: str, root_id: str) -> list[str]:
        root = gpus.install(tmp_path / name, count=2, root_id=root_id, build_dir=build_dir)
        return [gpu.uuid for gpu in gpus.read(root.path).gpus]

    first = uuids("a", "one")
    gpus.remove(tmp_path / "a")
    assert uuids("a", "one") == first
    assert not set(uuids("b", "two")) & set(first)


def test_a_state_of_another_layout_is_made_anew(install: Install) -> None:
    root = install(count=1)
    with root.state.open("r+b") as state:
        state.truncate(100)
    with pytest.raises(gpus.ControlError, match="another version"):
        gpus.read(root.path)
    install(count=1)
    assert len(gpus.read(root.path).gpus) == 1


def test_an_interrupted_installation_is_finished_by_the_next(install: Install) -> None:
    root = install(count=2)
    root.description.unlink()
    assert len(gpus.read(install(count=2).path).gpus) == 2


def test_removal(install: Install, tmp_path: Path) -> None:
    root = install(count=1)
    gpus.remove(root.path)
    gpus.remove(root.path)
    assert not root.path.exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "work.txt").touch()
    with pytest.raises(gpus.InstallError, match="not a driver root"):
        gpus.remove(mine)
    assert (mine / "work.txt").exists()


def test_processes_that_outlive_a_removed_installation_are_told(install: Install) -> None:
    root = install(count=1)
    script = """
gpu = nvmlDeviceGetHandleByIndex(0)
print("ready", flush=True)
sys.stdin.readline()
try:
    nvmlDeviceCreateGpuInstance(gpu, 19)
except NVMLError_DriverNotLoaded:
    print("gone")
"""
    with processes.start(root, script) as process:
        assert process.stdout
        process.stdout.readline()
        gpus.remove(root.path)
        install(count=1)
        out, err = process.communicate("go\n", timeout=30)
    assert out == "gone\n", err
    assert gpus.read(root.path).gpus[0].gpu_instances == ()


def test_refusals(install: Install) -> None:
    with pytest.raises(UnknownBoardError, match="a100-sxm4-40gb"):
        install("a100-sxm4-40g")
    with pytest.raises(gpus.InstallError, match="2 boards are named but 3 GPUs asked for"):
        install(["l4", "t4"], 3)
    for count in (0, 17):
        with pytest.raises(ValueError, match="1 to 16"):
            install(count=count)


def test_sixteen_gpus(install: Install) -> None:
    found = gpus.read(install(count=16).path).gpus
    assert len({gpu.pci_bus_id for gpu in found}) == 16
    assert [gpu.pci_bus_id for gpu in found] == sorted(gpu.pci_bus_id for gpu in found)


def test_a_file_system_without_device_nodes_is_refused(tmp_path: Path, build_dir: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nodev,size=8m", "tmpfs", str(mount)], check=True)
    try:
        with pytest.raises(gpus.InstallError, match="`nodev`"):
            gpus.install(mount / "root", count=1, build_dir=build_dir)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_missing_compiler_is_named_with_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(gpus.BuildError, match="apt-get install gcc libc6-dev"):
        gpus.build_library(tmp_path)


def test_a_build_is_made_once(build: gpus.Build, build_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = build.library.stat().st_mtime_ns
    assert gpus.build_library(build_dir) == build
    assert build.library.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("driver 1.2.3", "driver 1.2.3 is described, but this program was built for"),
        ("profile enum=0 id=19", "a profile needs a board above it"),
        ("gpu board=0 minor=0", "board=0 is not above this line"),
        ("gpus 8", "unknown line"),
    ],
)
def test_a_bad_description_is_refused_by_line_before_anything_is_touched(
    line: str, says: str, install: Install
) -> None:
    root = install(count=1)
    description = root.path / "bad.txt"
    description.write_text(f"{line}\n")
    command = [str(root.admin), str(root.state), "init", str(description)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert f"{description}:1: " in run.stderr
    assert says in run.stderr
    assert len(gpus.read(root.path).gpus) == 1


def test_the_command_line(install: Install, tmp_path: Path) -> None:
    root = install(count=2)
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    (state_dir / "driver-root").symlink_to(root.path)
    environment = {"GPU_SANDBOX_STATE_DIR": str(state_dir), "COLUMNS": "160"}

    def sandbox_gpus(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), env=environment)
        assert result.exit_code == 0, result.output
        return result.output

    sandbox_gpus("hold", "0", "77")
    sandbox_gpus("xid", "0", "48")
    sandbox_gpus("latency", "--call", "10", "--mig", "20")
    sandbox_gpus("lose", "1")
    listing = sandbox_gpus("list")
    assert "lost" in listing
    assert "10 us per call, 20 us more per MIG change" in listing
    sandbox_gpus("reset", "1")
    sandbox_gpus("reboot")
    assert "lost" not in sandbox_gpus("list")
    refused = CliRunner().invoke(app, ["reset", "5"], env=environment)
    assert refused.exit_code == 1
    assert "no GPU 5: there are 2, numbered from 0" in refused.output
