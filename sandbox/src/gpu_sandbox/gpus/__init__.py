"""Simulated NVIDIA GPUs: a driver root whose libnvidia-ml.so.1 the real nvidia-ml-py loads.

`install` makes the root; the rest does to the GPUs what a person or a fault would. The simulation itself is C, in
sandbox/nvml.
"""

from gpu_sandbox.gpus.build import DRIVER_VERSION, Build, BuildError, build_library
from gpu_sandbox.gpus.control import (
    ControlError,
    SimulatedGpu,
    SimulatedNode,
    hold,
    inject_xid,
    lose,
    read,
    reboot,
    reset,
    set_latency,
)
from gpu_sandbox.gpus.driver_root import DriverRoot, InstallError, install, remove

__all__ = [
    "DRIVER_VERSION",
    "Build",
    "BuildError",
    "ControlError",
    "DriverRoot",
    "InstallError",
    "SimulatedGpu",
    "SimulatedNode",
    "build_library",
    "hold",
    "inject_xid",
    "install",
    "lose",
    "read",
    "reboot",
    "remove",
    "reset",
    "set_latency",
]
