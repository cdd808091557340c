"""Other processes that use the GPUs: scripts run with nvidia-ml-py, in a cgroup or a mount namespace if asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu_sandbox.gpus import DriverRoot

PRELUDE = """
import ctypes, os, sys, time
import pynvml
from pynvml import *
def create_device(gpu, profile, start):
    placement = c_nvmlGpuInstancePlacement_t(start, 1)
    gi = nvmlDeviceCreateGpuInstanceWithPlacement(gpu, profile, ctypes.byref(placement))
    return gi, nvmlGpuInstanceCreateComputeInstance(gi, 0)
nvmlInit()
"""


def start(root: DriverRoot, script: str, wrapper: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A process that runs `script` after nvmlInit, with the loader finding the library as in a container."""
    command = [*wrapper, sys.executable, "-c", PRELUDE + script]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=root.environment(), stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def run(root: DriverRoot, script: str, wrapper: Sequence[str] = ()) -> str:
    """What the script printed. Raises AssertionError with its errors if it failed."""
    with start(root, script, wrapper) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


def in_namespace(*preparation: str) -> list[str]:
    """A wrapper: a mount namespace of its own in which shell commands were run first."""
    script = " && ".join([*preparation, 'exec "$@"'])
    return ["unshare", "--mount", "sh", "-ec", script, "sh"]


def in_cgroup(tasks: Path) -> list[str]:
    """A wrapper: inside the cgroup whose `tasks` file this is."""
    return ["sh", "-ec", f'echo $$ > {tasks}; exec "$@"', "sh"]
