"""Simulated GPUs for tests: the sandbox's NVML library, installed and controlled through the workspace's own interpreter.

The sandbox is not installed in the driver's environment, on purpose, so it is called as a program.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_INTERPRETER = REPOSITORY / ".venv/bin/python"

_INSTALL = """
import json, sys
from pathlib import Path
from gpu_sandbox import gpus
root, board, count, mig = json.loads(sys.argv[1])
gpus.install(Path(root), board, count, mig)
"""


def unavailable() -> str | None:
    """Why simulated GPUs cannot be had here, or None."""
    if not _INTERPRETER.exists():
        return "the workspace environment is missing: run tools/setup"
    found = subprocess.run([_INTERPRETER, "-c", "import gpu_sandbox.gpus"], capture_output=True, text=True, check=False)
    return (
        None if found.returncode == 0 else f"the sandbox's simulated GPUs cannot be used: {found.stderr.strip()[-300:]}"
    )


@dataclass(frozen=True)
class SimulatedGpus:
    """An installed driver root with simulated GPUs behind it."""

    root: Path

    def admin(self, *arguments: str | int) -> str:
        """Does to the GPUs what a person or a fault would: `list`, `reboot`, `lose 0`, `latency CALL_US MIG_US`…"""
        state = next((self.root / "usr/lib/x86_64-linux-gnu").glob("libnvidia-sim-state.so.*[0-9]"))
        command = [str(self.root / "usr/libexec/nvml-sim"), str(state), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def gpus(self) -> list[dict[str, Any]]:
        """The GPUs as the simulator itself sees them."""
        listed: list[dict[str, Any]] = json.loads(self.admin("list"))["gpus"]
        return listed

    def partitions(self, gpu: int) -> list[str]:
        """`3g.20gb@4` for each MIG device of a GPU, in the order of their places."""
        instances = self.gpus()[gpu]["gpu_instances"]
        return [f"{each['profile']}@{each['start']}" for each in sorted(instances, key=lambda each: each["start"])]

    def environment(self) -> dict[str, str]:
        """The driver's settings for this root, which is `/driver-root` to it and the same path on the host."""
        return {
            "NVIDIA_DRIVER_ROOT": str(self.root),
            "DRIVER_ROOT_CTR_PATH": str(self.root),
            "ALT_PROC_DEVICES_PATH": str(self.root / "proc/devices"),
            "ALT_PROC_DRIVER_PATH": str(self.root / "proc/driver/nvidia"),
            "ALT_SYSFS_PATH": str(self.root / "sys"),
        }


def install(root: Path, board: str = "a100-sxm4-40gb", count: int = 1, *, mig: bool = True) -> SimulatedGpus:
    """Makes a driver root with `count` GPUs of one board; `mig` is the mode they start in."""
    arguments = json.dumps([str(root), board, count, mig])
    made = subprocess.run([_INTERPRETER, "-c", _INSTALL, arguments], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        raise RuntimeError(f"cannot install simulated GPUs: {made.stderr[-2000:]}")
    return SimulatedGpus(root)
