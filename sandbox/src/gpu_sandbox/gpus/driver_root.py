"""A directory that looks like an installed NVIDIA driver, with simulated GPUs behind it.

Owns the layout (libraries, nvidia-smi, /dev, /proc and /sys as a driver would show them) and its installation and
removal. It never changes a GPU's state once that exists, and never touches anything outside the root it is given.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_catalog.boards import Board, load_catalog
from gpu_sandbox.gpus import kernel_files
from gpu_sandbox.gpus.build import ADMIN, DRIVER_VERSION, LIBRARY, SMI, build_library, default_build_dir
from gpu_sandbox.gpus.description import Gpu, describe, gpu_uuid
from gpu_sandbox.gpus.topology import addresses

STATE = f"libnvidia-sim-state.so.{DRIVER_VERSION}"

DEFAULT_COUNT = 8


class InstallError(RuntimeError):
    """The driver root could not be made or removed; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class DriverRoot:
    """The paths of an installed driver root. Making one of these touches no file."""

    path: Path

    @property
    def library_dir(self) -> Path:
        return self.path / "usr/lib/x86_64-linux-gnu"

    @property
    def library(self) -> Path:
        return self.library_dir / "libnvidia-ml.so.1"

    @property
    def state(self) -> Path:
        return self.library_dir / STATE

    @property
    def nvidia_smi(self) -> Path:
        return self.path / "usr/bin" / SMI

    @property
    def admin(self) -> Path:
        return self.path / "usr/libexec" / ADMIN

    @property
    def description(self) -> Path:
        return self.path / "usr/share/nvml-sim/gpus.txt"

    @property
    def dev(self) -> Path:
        return self.path / "dev"

    @property
    def proc_devices(self) -> Path:
        return self.path / "proc/devices"

    @property
    def proc_driver(self) -> Path:
        return self.path / "proc/driver/nvidia"

    @property
    def sysfs(self) -> Path:
        return self.path / "sys"

    def environment(self) -> dict[str, str]:
        """What a process needs to load this NVML: nvidia-ml-py opens it by its bare name."""
        return {"LD_LIBRARY_PATH": str(self.library_dir)}

    @property
    def installed(self) -> bool:
        return self.description.is_file() and self.state.is_file()


def install(
    root: Path,
    board: str | Sequence[str] = "a100-sxm4-40gb",
    count: int | None = None,
    mig_enabled: bool = True,
    *,
    root_id: str | None = None,
    build_dir: Path | None = None,
) -> DriverRoot:
    """Makes or completes the driver root. With the same arguments again, GPUs and their partitions stay as they are.

    `board` names the board of `count` GPUs (8 if not given), or of each GPU in turn. `mig_enabled` is the first MIG
    mode of boards that have MIG. `root_id` is what GPU UUIDs are made from, the root's path by default. Other
    arguments than last time replace the GPUs: processes that use them must initialise NVML again.

    Raises UnknownBoardError, BuildError and InstallError.
    """
    root = root.absolute()
    boards = _boards(board, count)
    places = addresses(len(boards))
    gpus = [
        Gpu(
            board=each,
            minor=index,
            uuid=gpu_uuid(root_id if root_id is not None else str(root.resolve()), index),
            address=places[index],
            mig_enabled=mig_enabled and each.mig_capable,
        )
        for index, each in enumerate(boards)
    ]
    build = build_library(build_dir or default_build_dir())
    driver_root = DriverRoot(root)
    _require_device_nodes(root)

    _copy_program(build.library, driver_root.library_dir / LIBRARY)
    _link(LIBRARY, driver_root.library)
    _link("libnvidia-ml.so.1", driver_root.library_dir / "libnvidia-ml.so")
    _copy_program(build.smi, driver_root.nvidia_smi)
    _copy_program(build.admin, driver_root.admin)

    text = describe(gpus)
    unchanged = driver_root.installed and driver_root.description.read_text() == text and _readable(driver_root)
    if not unchanged:
        for folder in (driver_root.dev, driver_root.path / "proc", driver_root.sysfs):
            shutil.rmtree(folder, ignore_errors=True)
    kernel_files.write(root, gpus)
    if not unchanged:
        driver_root.description.parent.mkdir(parents=True, exist_ok=True)
        pending = driver_root.description.with_suffix(".new")
        pending.write_text(text)
        _run_admin(driver_root, "init", str(pending))
        pending.replace(driver_root.description)
    return driver_root


def remove(root: Path) -> None:
    """Deletes a driver root; does nothing if there is none. Raises InstallError for any other directory."""
    driver_root = DriverRoot(root)
    if not root.exists():
        return
    if root.is_symlink() or not (driver_root.description.exists() or driver_root.admin.exists() or _is_empty(root)):
        raise InstallError(f"{root} is not a driver root that this program made, so it is not deleted")
    shutil.rmtree(root)


def _boards(board: str | Sequence[str], count: int | None) -> list[Board]:
    names = [board] * (DEFAULT_COUNT if count is None else count) if isinstance(board, str) else list(board)
    if count is not None and count != len(names):
        raise InstallError(
            f"{len(names)} boards are named but {count} GPUs asked for; leave the count out or make it fit"
        )
    catalog = load_catalog()
    return [catalog.board(name) for name in names]


def _require_device_nodes(root: Path) -> None:
    if os.geteuid() != 0:
        raise InstallError("simulated GPUs need real device nodes, which only root can make; run as root")
    root.mkdir(parents=True, exist_ok=True)
    if os.statvfs(root).f_flag & os.ST_NODEV:
        raise InstallError(
            f"{root} is on a file system mounted with `nodev`, where device nodes cannot be used; "
            "choose a directory elsewhere or remount it with `dev`"
        )


def _copy_program(source: Path, target: Path) -> None:
    if target.is_file() and target.read_bytes() == source.read_bytes():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    pending = target.with_name(f".{target.name}.new")  # never write into a file that a process has mapped
    shutil.copyfile(source, pending)
    pending.chmod(0o755)
    pending.replace(target)


def _link(target: str, link: Path) -> None:
    if link.is_symlink() and str(link.readlink()) == target:
        return
    pending = link.with_name(f".{link.name}.new")
    pending.unlink(missing_ok=True)
    pending.symlink_to(target)
    pending.replace(link)


def _readable(driver_root: DriverRoot) -> bool:
    """Whether this version's tools understand the state that lies there."""
    command = [str(driver_root.admin), str(driver_root.state), "list"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run_admin(driver_root: DriverRoot, *arguments: str) -> None:
    command = [str(driver_root.admin), str(driver_root.state), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise InstallError(run.stderr.strip())


def _is_empty(folder: Path) -> bool:
    return stat.S_ISDIR(folder.lstat().st_mode) and not any(folder.iterdir())
