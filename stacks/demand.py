"""Whether the claims of a stack can ever be met by a layout on given GPUs. Pure arithmetic over the catalogue."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gpu_catalog.boards import Board, CatalogError
from gpu_catalog.layouts import GpuSlot, MigPartedFile

WHOLE_GPU = "gpu"


@dataclass(frozen=True)
class Claim:
    """What one claim template asks for: `count` devices of a MIG profile, or whole GPUs with the profile `gpu`."""

    profile: str
    count: int = 1


def offered(board: Board, gpus: int, layouts: MigPartedFile, name: str) -> Counter[str]:
    """How many devices of each profile, and whole GPUs, a named layout makes of these GPUs. Raises LayoutError."""
    slots = [GpuSlot(index, board, board.pci_device_ids[0]) for index in range(gpus)]
    counts: Counter[str] = Counter()
    resolved = layouts.resolve(name, slots)
    for gpu in resolved:
        counts.update(placement.profile.name for placement in gpu.placements)
        counts[WHOLE_GPU] += not gpu.mig_enabled
    # A GPU that the layout does not mention stays as it is, which nobody can count on.
    return +counts


def unmet(claims: Mapping[str, Claim], board: Board, made: Counter[str] | None) -> dict[str, str]:
    """What is wrong with each claim that no pod could ever get, by claim name. `made` None: partitions as found."""
    problems: dict[str, str] = {}
    for name, claim in claims.items():
        if claim.profile != WHOLE_GPU:
            try:
                board.profile(claim.profile)
            except CatalogError as error:
                problems[name] = str(error)
                continue
        if made is not None and made[claim.profile] < claim.count:
            makes = ", ".join(f"{count} x {profile}" for profile, count in sorted(made.items())) or "nothing"
            problems[name] = f"asks for {claim.count} x {claim.profile}, and the layout makes {makes}"
    return problems
