"""What a loaded NVIDIA kernel module shows besides MIG instances: device nodes, /proc and /sys entries.

Owns these files below a driver root. Files of MIG instances are the simulator's own, because they come and go with the
instances.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from gpu_sandbox.gpus.build import DRIVER_VERSION
from gpu_sandbox.gpus.description import CAPS_MAJOR, NVIDIA_MAJOR, UVM_MAJOR, Gpu

_CONTROL_MINOR = 255
_CONFIG_MINOR = 1
_MONITOR_MINOR = 2
_FIRST_INSTANCE_MINOR = 3
_GI_SLOTS = 15
_CI_SLOTS = 8


def write(root: Path, gpus: Sequence[Gpu]) -> None:
    """Writes all files, leaving those alone that are already right."""
    _write_nodes(root, gpus)
    _write_proc(root, gpus)
    for gpu in gpus:
        _write_sysfs(root / "sys", gpu)


def instance_minors(gpu_minor: int) -> Iterable[tuple[str, int]]:
    """(capability path, minor number) of every MIG instance a GPU could have, as the kernel module numbers them."""
    first = _FIRST_INSTANCE_MINOR + gpu_minor * _GI_SLOTS * (1 + _CI_SLOTS)
    for gi in range(_GI_SLOTS):
        gi_minor = first + gi * (1 + _CI_SLOTS)
        yield f"gpu{gpu_minor}/gi{gi}/access", gi_minor
        for ci in range(_CI_SLOTS):
            yield f"gpu{gpu_minor}/gi{gi}/ci{ci}/access", gi_minor + 1 + ci


def _write_nodes(root: Path, gpus: Sequence[Gpu]) -> None:
    dev = root / "dev"
    (dev / "nvidia-caps").mkdir(parents=True, exist_ok=True)
    for gpu in gpus:
        _node(dev / f"nvidia{gpu.minor}", NVIDIA_MAJOR, gpu.minor, 0o666)
    _node(dev / "nvidiactl", NVIDIA_MAJOR, _CONTROL_MINOR, 0o666)
    _node(dev / "nvidia-uvm", UVM_MAJOR, 0, 0o666)
    _node(dev / "nvidia-uvm-tools", UVM_MAJOR, 1, 0o666)
    _node(dev / "nvidia-caps" / f"nvidia-cap{_CONFIG_MINOR}", CAPS_MAJOR, _CONFIG_MINOR, 0o400)
    _node(dev / "nvidia-caps" / f"nvidia-cap{_MONITOR_MINOR}", CAPS_MAJOR, _MONITOR_MINOR, 0o444)


def _write_proc(root: Path, gpus: Sequence[Gpu]) -> None:
    proc = root / "proc"
    driver = proc / "driver/nvidia"
    _text(proc / "devices", _devices(Path("/proc/devices").read_text()))
    _text(
        driver / "version",
        f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {DRIVER_VERSION}  (simulated: no such module is loaded)\n",
    )
    _capability(driver / "capabilities/mig/config", _CONFIG_MINOR, 0o400)
    _capability(driver / "capabilities/mig/monitor", _MONITOR_MINOR, 0o444)
    minors = [("config", _CONFIG_MINOR), ("monitor", _MONITOR_MINOR)]
    minors += [pair for gpu in gpus for pair in instance_minors(gpu.minor)]
    _text(proc / "driver/nvidia-caps/mig-minors", "".join(f"{path} {minor}\n" for path, minor in minors))
    for gpu in gpus:
        _text(
            driver / f"gpus/{gpu.address}/information",
            f"Model: \t\t {gpu.board.product_name}\nGPU UUID: \t GPU-{gpu.uuid}\n"
            f"Bus Location: \t {gpu.address}\nDevice Minor: \t {gpu.minor}\n",
        )


def _devices(real: str) -> str:
    """The machine's /proc/devices with the majors of the simulated driver added."""
    ours = {NVIDIA_MAJOR: "nvidia", UVM_MAJOR: "nvidia-uvm", CAPS_MAJOR: "nvidia-caps"}
    head, _, rest = real.partition("\n\n")
    title, *lines = head.splitlines()
    kept = [line for line in lines if line.split()[1] not in {*ours.values(), "nvidia-frontend"}]
    merged = sorted(
        [*kept, *(f"{major:3} {name}" for major, name in ours.items())], key=lambda each: int(each.split()[0])
    )
    return "\n".join([title, *merged]) + "\n\n" + rest


def _write_sysfs(sysfs: Path, gpu: Gpu) -> None:
    address = str(gpu.address)
    device = sysfs / "devices" / gpu.address.root / address
    pci_id = int(gpu.board.pci_device_ids[0], 16) >> 16 if gpu.board.pci_device_ids else 0
    _text(device / "numa_node", f"{gpu.address.numa_node}\n")
    _text(device / "vendor", "0x10de\n")
    _text(device / "device", f"0x{pci_id:04x}\n")
    _text(device / "class", "0x030200\n")
    link = sysfs / "bus/pci/devices" / address
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(Path("../../../devices") / gpu.address.root / address)


def _capability(path: Path, minor: int, mode: int) -> None:
    _text(path, f"DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n")
    path.chmod(mode)


def _node(path: Path, major: int, minor: int, mode: int) -> None:
    number = os.makedev(major, minor)
    try:
        found = path.lstat()
    except FileNotFoundError:
        pass
    else:
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == number and stat.S_IMODE(found.st_mode) == mode:
            return
        path.unlink()
    os.mknod(path, mode | stat.S_IFCHR, number)
    path.chmod(mode)  # mknod applied the umask


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)
