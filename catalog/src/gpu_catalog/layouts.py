"""Which MIG partitions of one GPU, and where: placements and the check that they fit.

Owns the exact search over grid units and engines, and the words for a refusal. It never touches a GPU; the driver
creates what this module places, at the places it names, because a GPU that chooses places itself can refuse a layout
that fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpu_catalog.boards import Board, CatalogError, Profile


class LayoutError(CatalogError):
    """A layout that cannot be had. Every problem found is in `problems`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True)
class Placement:
    """One GPU instance: a profile at the grid unit `start`."""

    profile: Profile
    start: int

    @property
    def units(self) -> range:
        return self.profile.units(self.start)


@dataclass(frozen=True, slots=True)
class GpuSlot:
    """One GPU of a node, as a layout file selects it: by NVML index and by PCI device id (`0x20B010DE`)."""

    index: int
    board: Board
    pci_device_id: str


@dataclass(frozen=True, slots=True)
class GpuLayout:
    """What one GPU shall be. With `mig_enabled` and no placements, MIG mode is on and nothing is partitioned."""

    index: int
    mig_enabled: bool
    placements: tuple[Placement, ...]


def place(board: Board, counts: Mapping[str, int], *, around: Sequence[Placement] = ()) -> tuple[Placement, ...]:
    """Places for `counts` instances of each profile on one GPU, in the order of their units."""
    raise NotImplementedError
