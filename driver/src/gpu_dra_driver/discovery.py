"""What of the NVIDIA driver installation a container needs: libraries, binaries, firmware, sockets, device nodes.

Owns the search under the driver root and the dev root. Reads folders and file metadata; never opens a device and never
writes. The result speaks of both worlds: the path on the host, and the path inside the workload's container.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gpu_dra_driver.paths import Root, resolve_inside

NVML_LIBRARY = "libnvidia-ml.so.1"
# Where distributions and driver containers put the driver's libraries, most common first; relative to the driver root.
LIBRARY_DIRS = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib64",
    "usr/lib/aarch64-linux-gnu",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib",
    "lib",
    "usr/local/nvidia/lib64",
    "nvidia/lib64",
)
_BINARY_DIRS = ("usr/bin", "usr/sbin", "bin", "sbin", "usr/local/bin", "usr/local/nvidia/bin", "nvidia/bin")
_BINARIES = (
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-imex",
    "nvidia-imex-ctl",
)
_SOCKETS = ("run/nvidia-persistenced/socket", "run/nvidia-fabricmanager/socket", "tmp/nvidia-mps")
_FIRMWARE_DIRS = ("lib/firmware/nvidia", "usr/lib/firmware/nvidia")
_HOOK_DIRS = ("usr/bin", "usr/local/bin", "usr/sbin", "usr/local/nvidia/toolkit")
_CONTROL_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")


@dataclass(frozen=True)
class File:
    """A file or socket to mount: where it lies on the host, and where the container shall see it."""

    host: str
    container: str


@dataclass(frozen=True)
class Link:
    """A symbolic link beside a library: `path` in the container points to the name `target`."""

    target: str
    path: str


@dataclass(frozen=True)
class Installation:
    """The mountable parts of one driver installation."""

    libraries: tuple[File, ...]
    links: tuple[Link, ...]
    library_dirs: tuple[str, ...]
    cuda_library_dir: str | None
    binaries: tuple[File, ...]
    firmware: tuple[File, ...]
    hook: str | None
    """Host path of nvidia-cdi-hook, which makes links and refreshes the loader's cache inside a container."""


@dataclass(frozen=True)
class DeviceNode:
    """A character device. `host` is set only when the host's path differs from the container's."""

    path: str
    major: int
    minor: int
    host: str | None = None


class MissingDeviceError(Exception):
    """A device node or a MIG capability that must exist does not."""


class LibraryNotFoundError(Exception):
    """The driver root holds no NVML library."""


def find_library(driver_root: Path) -> Path:
    """The NVML library under `driver_root`. Raises LibraryNotFoundError naming the folders that were looked at."""
    for folder in LIBRARY_DIRS:
        candidate = resolve_inside(driver_root, driver_root / folder / NVML_LIBRARY)
        if candidate is not None:
            return candidate
    raise LibraryNotFoundError(
        f"no {NVML_LIBRARY} under {driver_root} (looked in {', '.join(LIBRARY_DIRS)}). "
        "Is the NVIDIA driver installed on this node, and NVIDIA_DRIVER_ROOT the path of its installation?"
    )


def discover(root: Root, driver_version: str) -> Installation:
    """Searches the driver root once; an installation does not change while its kernel driver is loaded."""
    libraries: list[File] = []
    links: list[Link] = []
    folders: list[str] = []
    cuda_dir: str | None = None
    suffix = f".so.{driver_version}"
    seen: set[Path] = set()
    for folder in _library_folders(root):
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        found = {}
        for entry in entries:
            if entry.name.endswith(suffix):
                target = resolve_inside(root.ctr, Path(entry.path))
                if target is not None and target not in seen:
                    seen.add(target)
                    found[entry.name] = target
                    libraries.append(File(root.on_host(target), root.in_workload(Path(entry.path))))
        if not found:
            continue
        inside = root.in_workload(folder)
        folders.append(inside)
        if f"libcuda{suffix}" in found:
            cuda_dir = cuda_dir or inside
        names = {target: name for name, target in found.items()}
        for entry in entries:
            if entry.is_symlink() and entry.name not in found:
                target = resolve_inside(root.ctr, Path(entry.path))
                if target in names:
                    links.append(Link(names[target], f"{inside}/{entry.name}"))
    return Installation(
        libraries=tuple(libraries),
        links=tuple(links),
        library_dirs=tuple(folders),
        cuda_library_dir=cuda_dir,
        binaries=tuple(_first_of_each(root, _BINARY_DIRS, _BINARIES)),
        firmware=tuple(_firmware(root, driver_version)),
        hook=next((file.host for file in _first_of_each(root, _HOOK_DIRS, ("nvidia-cdi-hook",))), None),
    )


def _library_folders(root: Root) -> Iterator[Path]:
    """Existing library folders; one reached by two names (lib64 -> usr/lib64) is searched once, by its first name."""
    seen: set[Path] = set()
    for name in LIBRARY_DIRS:
        for folder in (root.ctr / name, root.ctr / name / "vdpau"):
            real = resolve_inside(root.ctr, folder)
            if real is not None and real.is_dir() and real not in seen:
                seen.add(real)
                yield real


def _first_of_each(root: Root, folders: Iterable[str], names: Iterable[str]) -> Iterator[File]:
    for name in names:
        for folder in folders:
            path = root.ctr / folder / name
            real = resolve_inside(root.ctr, path)
            if real is not None and real.is_file():
                yield File(root.on_host(real), root.in_workload(path))
                break


def _firmware(root: Root, driver_version: str) -> Iterator[File]:
    for folder in _FIRMWARE_DIRS:
        files = sorted((root.ctr / folder / driver_version).glob("gsp*.bin"))
        if files:
            yield from (File(root.on_host(path), root.in_workload(path)) for path in files)
            return


def sockets(root: Root) -> list[File]:
    """The daemons' sockets that exist now; daemons come and go, so this is asked at each prepare."""
    return [File(root.on_host(root.ctr / name), f"/{name}") for name in _SOCKETS if (root.ctr / name).exists()]


class DeviceNodes:
    """Device nodes as the container runtime must create them. Reads node metadata and the kernel driver's MIG capability files."""

    def __init__(self, dev_root: Root, proc_driver: Path, proc_devices: Path, sysfs: Path) -> None:
        self._root = dev_root
        self._capabilities = proc_driver / "capabilities"
        self._proc_devices = proc_devices
        self._sysfs = sysfs

    def control(self) -> list[DeviceNode]:
        """The nodes every container with a GPU needs; those that do not exist (modeset, often) are left out."""
        nodes = (self._node(f"dev/{name}") for name in _CONTROL_NODES)
        return [node for node in nodes if node is not None]

    def gpu(self, minor: int) -> DeviceNode:
        """The node of a whole GPU. Raises MissingDeviceError."""
        node = self._node(f"dev/nvidia{minor}")
        if node is None:
            raise MissingDeviceError(f"there is no device node {self._root.ctr}/dev/nvidia{minor} for GPU {minor}")
        return node

    def display(self, pci_bus_id: str) -> list[DeviceNode]:
        """The DRI nodes of a whole GPU, if its display driver is loaded."""
        folder = self._sysfs / "bus/pci/devices" / pci_bus_id / "drm"
        names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        nodes = (self._node(f"dev/dri/{name}") for name in names if name.startswith(("card", "renderD")))
        return [node for node in nodes if node is not None]

    def capabilities(self, minor: int, gi_id: int, ci_id: int) -> list[DeviceNode]:
        """The two capability nodes of a MIG device.

        Their numbers come from the kernel driver's own tables, not from the nodes: nvidia-modprobe makes those late, and the
        runtime creates the container's copy from the numbers alone. Raises MissingDeviceError.
        """
        instance = self._capabilities / f"gpu{minor}/mig/gi{gi_id}"
        major = capability_major(self._proc_devices)
        return [self._capability(major, access) for access in (instance / "access", instance / f"ci{ci_id}" / "access")]

    def _capability(self, major: int, access: Path) -> DeviceNode:
        number = _capability_minor(access)
        name = f"dev/nvidia-caps/nvidia-cap{number}"
        return DeviceNode(f"/{name}", major, number, self._host_path(name))

    def _node(self, name: str) -> DeviceNode | None:
        try:
            status = (self._root.ctr / name).stat()
        except FileNotFoundError:
            return None
        if not stat.S_ISCHR(status.st_mode):
            return None
        return DeviceNode(f"/{name}", os.major(status.st_rdev), os.minor(status.st_rdev), self._host_path(name))

    def _host_path(self, name: str) -> str | None:
        return None if self._root.host == Path("/") else str(self._root.host / name)


def _capability_minor(access: Path) -> int:
    try:
        for line in access.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "DeviceFileMinor":
                return int(value)
    except (OSError, ValueError) as error:
        raise MissingDeviceError(f"cannot read the MIG capability {access}: {error}") from error
    raise MissingDeviceError(f"the MIG capability {access} names no DeviceFileMinor")


@lru_cache(maxsize=4)
def capability_major(proc_devices: Path) -> int:
    """The major of nvidia-caps devices; the kernel driver registers it once when it is loaded."""
    try:
        for line in proc_devices.read_text().splitlines():
            number, _, name = line.strip().partition(" ")
            if name == "nvidia-caps":
                return int(number)
    except (OSError, ValueError) as error:
        raise MissingDeviceError(f"cannot read {proc_devices}: {error}") from error
    raise MissingDeviceError(
        f"{proc_devices} has no line for nvidia-caps: is the NVIDIA kernel driver loaded with MIG support?"
    )
