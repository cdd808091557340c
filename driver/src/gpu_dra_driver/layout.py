"""The declared MIG layout: from its name in the settings to what each GPU of this node shall be.

Owns reading the layout file and asking the catalogue where the partitions go. Everything is refused here, before any GPU is
touched, when the layout as a whole cannot be had; a single GPU that the catalogue does not know is left out and named.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_dra_driver.gpus import Gpu, GpuFailure
from gpu_dra_driver.mig import WantedInstance, WantedLayout

if TYPE_CHECKING:
    from gpu_catalog.boards import Board


class LayoutRefusedError(Exception):
    """The layout cannot be had on this node; the text is the catalogue's explanation."""


@dataclass(frozen=True)
class NodeLayout:
    """What each GPU shall be, by UUID; `problems` names by UUID the GPUs the layout cannot speak of."""

    wanted: dict[str, WantedLayout]
    problems: dict[str, str]


NO_LAYOUT = NodeLayout({}, {})


def resolve(name: str, file: Path | None, gpus: Iterable[Gpu | GpuFailure]) -> NodeLayout:
    """Places the layout called `name`. Raises LayoutRefusedError, also when the file cannot be read or the name is unknown."""
    # Imported here: the catalogue's tables and YAML are needed only where a layout is declared.
    from gpu_catalog.boards import CatalogError, UnknownBoardError, load_catalog  # noqa: PLC0415
    from gpu_catalog.layouts import GpuSlot, builtin_mig_parted, parse_mig_parted  # noqa: PLC0415

    problems: dict[str, str] = {}
    boards: dict[int, tuple[Gpu, Board]] = {}
    slots: list[GpuSlot] = []
    try:
        catalog = load_catalog()
        parted = builtin_mig_parted() if file is None else parse_mig_parted(file.read_text(encoding="utf-8"))
        for gpu in gpus:
            if isinstance(gpu, GpuFailure):
                continue
            try:
                board = catalog.board(gpu.product_name)
            except UnknownBoardError as error:
                problems[gpu.uuid] = str(error)
                continue
            boards[gpu.index] = (gpu, board)
            slots.append(GpuSlot(gpu.index, board, gpu.pci_device_id))
        layouts = parted.resolve(name, slots)
    except (CatalogError, OSError, UnicodeDecodeError) as error:
        where = f"MIG_CONFIG_FILE={file}" if file is not None else "the built-in layouts"
        raise LayoutRefusedError(
            f"MIG_CONFIG={name!r} from {where} cannot be applied to this node:\n{error}"
        ) from error
    wanted = {}
    for layout in layouts:
        gpu, board = boards[layout.index]
        wanted[gpu.uuid] = WantedLayout(
            mig_enabled=layout.mig_enabled,
            toggles_at_once=not board.mig_mode_needs_reset,
            instances=tuple(
                WantedInstance(
                    start=placement.start,
                    size=placement.profile.size,
                    profile_id=placement.profile.gi_profile_id,
                    slices=placement.profile.slices,
                    profile=placement.profile.name,
                )
                for placement in sorted(layout.placements, key=lambda each: each.start)
            ),
        )
    return NodeLayout(wanted, problems)
