"""Prints which GPU or MIG slice this container holds. Standard library only, so it runs in any image with Python."""

import os
import shutil
import subprocess
from pathlib import Path


def report(tier: str) -> None:
    """What the container sees of the node's GPUs: through NVML, as device nodes and in its environment."""
    print(f"{tier}: the slice this pod holds", flush=True)
    for line in _nvidia_smi():
        print(f"{tier}:   {line}", flush=True)
    nodes = sorted(str(path) for path in Path("/dev").glob("nvidia*") if not path.is_dir())
    nodes += sorted(str(path) for path in Path("/dev").glob("nvidia-caps/*"))
    print(f"{tier}:   device nodes: {' '.join(nodes) or 'none'}", flush=True)
    for name in ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            print(f"{tier}:   {name}={os.environ[name]}", flush=True)


def _nvidia_smi() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return ["nvidia-smi is not in this container: the claim's CDI device did not mount the driver's tools"]
    result = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False)
    lines = (result.stdout + result.stderr).strip().splitlines()
    return lines if result.returncode == 0 else [f"nvidia-smi -L failed with status {result.returncode}:", *lines]
