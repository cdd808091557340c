"""Layouts of MIG partitions: what fits one GPU and where, and the named layouts of mig-parted files.

The front door of two rooms: the search and its explanations, and the mig-parted format. Nothing here touches a GPU.
"""

from gpu_catalog._mig_parted import (
    GpuLayout,
    GpuSlot,
    MigPartedEntry,
    MigPartedFile,
    builtin_mig_parted,
    parse_mig_parted,
)
from gpu_catalog._placement import LayoutError, Placement, format_counts, gpu_instance_id, parse_counts, place

__all__ = [
    "GpuLayout",
    "GpuSlot",
    "LayoutError",
    "MigPartedEntry",
    "MigPartedFile",
    "Placement",
    "builtin_mig_parted",
    "format_counts",
    "gpu_instance_id",
    "parse_counts",
    "parse_mig_parted",
    "place",
]
