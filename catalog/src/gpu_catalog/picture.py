"""GPUs as coloured bars, one stretch per slice and as wide as its share of memory, for a terminal.

Draws the model of `gpu_catalog.occupancy` with rich and decides nothing about it. What colour says is also said in
words, so the picture reads the same in a log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from gpu_catalog.boards import ENGINES, Board, Catalog, Profile
from gpu_catalog.occupancy import Gpu, Node, Occupancy, PodClaim, Segment

_COLOURS = {"1": "cyan", "2": "green", "3": "yellow", "4": "magenta", "7": "blue"}
"""By compute slices of the profile, so that equal profiles look equal on every board."""
_WHOLE = "white"
_WIDEST = 113
# What Kubernetes puts behind the pod's name: the claim's name in the pod, and five characters of chance.
_MADE_FROM_TEMPLATE = re.compile(r"-.+-[a-z0-9]{5}")
"""Columns of bar beyond which a wider terminal makes nothing clearer."""
_FIT = "MIG profiles, and how many fit one GPU"
_PHASES = {"Running": "green", "Succeeded": "dim", "Pending": "yellow", "Failed": "red", "Terminating": "dim"}


def draw(occupancy: Occupancy) -> RenderableType:
    """The nodes with their GPUs, then the pods with their claims."""
    if not occupancy.nodes:
        return Text("No GPUs are published: no ResourceSlice of the driver is in the cluster.")
    return Group(*(part for node in occupancy.nodes for part in (draw_node(node), Text())), draw_pods(occupancy.pods))


def draw_node(node: Node) -> RenderableType:
    heading = Text.assemble((node.name, "bold"), f"  {_products(node.gpus)}, {node.devices} devices, {node.held} held")
    return Group(heading, Bars(node.gpus))


def draw_pods(pods: Sequence[PodClaim]) -> RenderableType:
    if not pods:
        return Text("No pod has a claim on a GPU.")
    one_namespace = len({row.namespace for row in pods}) == 1
    one_node = len({row.node for row in pods if row.node}) <= 1
    columns = ("pod", "claim", "device", *(() if one_node else ("node",)), "phase")
    table = _table(*columns, folded=("pod", "claim"))
    for row in pods:
        cells: list[str | Text] = [
            row.pod if one_namespace else f"{row.namespace}/{row.pod}",
            _claim_of(row),
            "\n".join(row.devices) or Text("none yet", "yellow"),
        ]
        if not one_node:
            cells.append(row.node or Text("none yet", "yellow"))
        table.add_row(*cells, Text(row.phase, _PHASES.get(row.phase, "")))
    return table


def _claim_of(row: PodClaim) -> str:
    """The claim's name; of one made for the pod from a template, without the pod's name in front."""
    rest = row.claim.removeprefix(row.pod)
    return f"…{rest}" if rest != row.claim and _MADE_FROM_TEMPLATE.fullmatch(rest) else row.claim


class Bars:
    """One bar of two lines per GPU: what each slice is, and its caption. Every grid unit is equally wide."""

    def __init__(self, gpus: Iterable[Gpu]) -> None:
        self.gpus = tuple(gpus)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        margin = max((len(gpu.name) for gpu in self.gpus), default=0) + 1
        width = max(min(options.max_width - margin, _WIDEST), 17)
        for gpu in self.gpus:
            unit = (width - 1) // gpu.units
            for name, attribute in ((gpu.name, "label"), ("", "caption")):
                line = Text(no_wrap=True, overflow="crop").append(name.ljust(margin), "bold")
                for segment in gpu.segments:
                    line.append("│", "dim")
                    line.append_text(_stretch(segment, getattr(segment, attribute), segment.size * unit - 1))
                line.append("│", "dim")
                yield line


def draw_boards(catalog: Catalog) -> RenderableType:
    """Every board with how many of each profile one of it holds."""
    table = _table("board", "memory", "CUDA", _FIT, folded=("board", _FIT))
    families: dict[str, list[Board]] = {}
    for board in catalog.boards:
        families.setdefault(board.family, []).append(board)
    for boards in families.values():
        board = boards[0]
        table.add_row(
            "\n".join(each.key for each in boards),
            f"{board.memory_mib} MiB",
            board.compute_capability,
            ", ".join(f"{profile.max_instances}x{_marked(profile)}" for profile in board.profiles)
            or Text("no MIG", "dim"),
        )
    return Group(table, Text("~ a number of this profile has no first-hand source: gpu-catalog boards BOARD", "dim"))


def draw_board(board: Board) -> RenderableType:
    """One board with its profiles in full."""
    heading = Text.assemble(
        (board.product_name, "bold"),
        f"  {board.architecture}, {board.memory_mib} MiB, {board.multiprocessors} multiprocessors, "
        f"CUDA {board.compute_capability}, PCI {', '.join(board.pci_device_ids) or 'id unknown'}",
    )
    if not board.mig_capable:
        return Group(heading, Text("no MIG"))
    table = _table(
        "profile", "id", "MiB", *("SM", "CE", "DEC", "ENC", "JPG", "OFA"), "fit", "units", "starts", folded=("starts",)
    )
    for profile in board.profiles:
        table.add_row(
            _marked(profile),
            str(profile.gi_profile_id),
            str(profile.memory_mib),
            *(str(profile.engine(engine)) for engine in ENGINES),
            str(profile.max_instances),
            str(profile.size),
            " ".join(map(str, profile.starts)),
        )
    unverified = {profile.name: profile.unverified_fields for profile in board.profiles if profile.unverified_fields}
    notes = [Text(f"{name}: no first-hand source for {', '.join(what)}", "dim") for name, what in unverified.items()]
    return Group(heading, table, *notes)


def _marked(profile: Profile) -> str:
    # The compute instance id changes nothing about what fits or how large it is.
    return f"{profile.name}~" if set(profile.unverified_fields) - {"ci_profile_id"} else profile.name


def _table(*columns: str, folded: Sequence[str]) -> Table:
    """A table without lines, in which only the `folded` columns give way on a narrow terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in folded)
    return table


def _products(gpus: Sequence[Gpu]) -> str:
    products = dict.fromkeys(gpu.product for gpu in gpus)
    return ", ".join(f"{sum(gpu.product == product for gpu in gpus)} x {product}" for product in products)


def _stretch(segment: Segment, text: str, columns: int) -> Text:
    if segment.state == "unused":
        return Text("·" * columns, "dim")
    colour = _COLOURS.get(segment.label.split("g.")[0], _WHOLE)
    style = f"black on {colour}" if segment.state == "held" else f"dim {colour}"
    return Text(_clip(text, columns).ljust(columns), style)


def _clip(text: str, columns: int) -> str:
    """Names of one project differ at their ends, so it is the beginning that goes."""
    return text if len(text) <= columns else f"…{text[len(text) - columns + 1 :]}"[:columns]
