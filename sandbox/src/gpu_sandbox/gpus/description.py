"""The plain text from which the simulator makes its GPUs (its form: sandbox/nvml/admin/description.h).

Owns the translation of catalogue boards into NVML's numbers. Pure: values in, text out.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from gpu_catalog.boards import Board, Profile
from gpu_sandbox.gpus.build import DRIVER_VERSION
from gpu_sandbox.gpus.topology import PciAddress

CUDA_VERSION = 13000  # CUDA 13.0, as the 580 driver branch reports it
CAPS_MAJOR = 511
UVM_MAJOR = 510
NVIDIA_MAJOR = 195

# NVML_DEVICE_ARCH_* and NVML_BRAND_* by the names that NVIDIA's DRA driver prints.
_ARCHITECTURES = {
    "Kepler": 2,
    "Maxwell": 3,
    "Pascal": 4,
    "Volta": 5,
    "Turing": 6,
    "Ampere": 7,
    "Ada Lovelace": 8,
    "Hopper": 9,
    "Blackwell": 10,
    "Rubin": 13,
}
_BRANDS = {"Quadro": 1, "Tesla": 2, "GeForce": 5, "QuadroRTX": 12, "NvidiaRTX": 13, "Nvidia": 14, "GeForceRTX": 15}

_UUID_NAMESPACE = uuid.UUID("c1f3fe0e-6f43-5ea5-9a59-6f2f6c4f1b0a")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU to simulate. `minor` numbers its device node and equals its NVML index."""

    board: Board
    minor: int
    uuid: uuid.UUID
    address: PciAddress
    mig_enabled: bool


def gpu_uuid(root_id: str, index: int) -> uuid.UUID:
    """The same for the same installation, so that reinstalling keeps the GPUs' identities."""
    return uuid.uuid5(_UUID_NAMESPACE, f"{root_id}/{index}")


def describe(gpus: Sequence[Gpu]) -> str:
    """The description of these GPUs."""
    boards = list(dict.fromkeys(gpu.board for gpu in gpus))
    lines = [f"driver {DRIVER_VERSION}", f"cuda {CUDA_VERSION}", f"caps-major {CAPS_MAJOR}"]
    for board in boards:
        lines.append(_board_line(board))
        lines += [_profile_line(profile) for profile in board.profiles]
    lines += [_gpu_line(gpu, boards.index(gpu.board)) for gpu in gpus]
    return "\n".join(lines) + "\n"


def _board_line(board: Board) -> str:
    slices = max((profile.slices for profile in board.profiles), default=0)
    pci_id = board.pci_device_ids[0] if board.pci_device_ids else "0x000010DE"
    return (
        f"board arch={_ARCHITECTURES[board.architecture]} brand={_BRANDS[board.brand]} cc={board.compute_capability} "
        f"memory={board.memory_mib} pci={pci_id} subsys=0x0 grid={board.grid_units} max={slices} "
        f"reset={board.mig_mode_needs_reset:d} persists={board.mig_mode_persists:d} name={board.product_name}"
    )


def _profile_line(profile: Profile) -> str:
    return (
        f"profile enum={profile.gi_profile_enum} id={profile.gi_profile_id} slices={profile.slices} "
        f"size={profile.size} starts={','.join(map(str, profile.starts))} max={profile.max_instances} "
        f"sm={profile.multiprocessors} ce={profile.copy_engines} dec={profile.decoders} enc={profile.encoders} "
        f"jpeg={profile.jpeg_engines} ofa={profile.ofa_engines} memory={profile.memory_mib} "
        f"ci={profile.ci_profile_id} name={profile.name}"
    )


def _gpu_line(gpu: Gpu, board: int) -> str:
    return (
        f"gpu board={board} minor={gpu.minor} module={gpu.minor + 1} uuid={gpu.uuid.hex} pci={gpu.address} "
        f"numa={gpu.address.numa_node} mig={gpu.mig_enabled:d}"
    )
