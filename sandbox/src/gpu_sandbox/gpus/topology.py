"""Where simulated GPUs sit: PCI addresses and NUMA nodes laid out as on an EC2 p4d.24xlarge.

Owns the addresses only: eight GPUs on four PCIe roots, two per root, two roots per NUMA node; up to sixteen by filling
the roots further. It knows nothing of boards.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_GPUS = 16

_ROOTS = ((0x10, 0), (0x20, 0), (0x90, 1), (0xA0, 1))  # PCI bus and the NUMA node it hangs from
_FIRST_SLOT = 0x1C
_USUAL_PER_ROOT = 2


@dataclass(frozen=True, slots=True)
class PciAddress:
    """A PCI function of domain 0. `str()` gives sysfs' form, 0000:10:1c.0."""

    bus: int
    slot: int
    numa_node: int

    def __str__(self) -> str:
        return f"0000:{self.bus:02x}:{self.slot:02x}.0"

    @property
    def root(self) -> str:
        """The PCIe root as sysfs names it, pci0000:10."""
        return f"pci0000:{self.bus:02x}"


def addresses(count: int) -> tuple[PciAddress, ...]:
    """Addresses of `count` GPUs, in PCI order. Raises ValueError outside 1..16."""
    if not 1 <= count <= MAX_GPUS:
        raise ValueError(f"{count} GPUs: a simulated node has 1 to {MAX_GPUS}")
    per_root = max(_USUAL_PER_ROOT, -(-count // len(_ROOTS)))
    every = (PciAddress(bus, _FIRST_SLOT + slot, numa) for bus, numa in _ROOTS for slot in range(per_root))
    return tuple(every)[:count]
