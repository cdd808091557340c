"""The `gpu-catalog` command: what boards there are, what a layout makes of one, and who holds the GPUs of a cluster.

Only arguments, output and exit codes live here. What cannot be done is told in one line on standard error, exit code 2.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from gpu_catalog.boards import Board, CatalogError, load_catalog
from gpu_catalog.layouts import (
    GpuLayout,
    GpuSlot,
    LayoutError,
    Placement,
    builtin_mig_parted,
    format_counts,
    parse_counts,
    parse_mig_parted,
    place,
)
from gpu_catalog.occupancy import NVIDIA_DRIVER, Gpu, occupancy, planned
from gpu_catalog.picture import Bars, draw, draw_board, draw_boards

app = typer.Typer(
    help="GPU boards, what MIG layouts make of them, and who holds the GPUs of a cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def show(
    kubeconfig: Annotated[Path | None, typer.Option(help="Kubeconfig file; else $KUBECONFIG, ~/.kube/config.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Pods of this namespace only.")] = None,
    driver: Annotated[str, typer.Option(help="DRA driver whose devices are drawn.")] = NVIDIA_DRIVER,
) -> None:
    """Draw the GPUs of a live cluster as slices, with the pods and claims that hold them."""
    from gpu_catalog.cluster import ClusterError, read_cluster  # noqa: PLC0415 - the other commands need no client

    with _refusals(ClusterError):
        read = read_cluster(kubeconfig)
    Console().print(draw(occupancy(read.slices, read.claims, read.pods, driver=driver, namespace=namespace)))


@app.command()
def boards(board: Annotated[str | None, typer.Argument(help="Show this board in full.")] = None) -> None:
    """List the boards and their MIG profiles, or one board in full."""
    with _refusals(CatalogError):
        catalog = load_catalog()
        Console().print(draw_board(catalog.board(board)) if board else draw_boards(catalog))


@app.command()
def plan(
    board: Annotated[str, typer.Argument(help="Key or product name, such as A100-SXM4-40GB.")],
    layout: Annotated[str, typer.Argument(help="A layout's name, such as all-balanced, or 2x1g.5gb,1x3g.20gb.")],
    gpus: Annotated[int, typer.Option(min=1, max=64, help="GPUs of the node.")] = 8,
    config_file: Annotated[Path | None, typer.Option(help="mig-parted file that has the layout.")] = None,
) -> None:
    """Draw what a layout makes of the GPUs of one node, or say why it does not fit."""
    with _refusals(CatalogError, OSError):
        on = load_catalog().board(board)
        layouts = _layouts(on, layout, gpus, config_file)
    console = Console()
    console.print(Text.assemble((f"{gpus} x {on.product_name}", "bold"), f"  {layout}"))
    console.print(Bars(_alike(on, layouts, gpus)))
    console.print(_total(layouts))


def main() -> None:
    app()


@contextmanager
def _refusals(*kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        Console(stderr=True).print(Text(f"gpu-catalog: {error}"), soft_wrap=True)
        raise typer.Exit(2) from None


def _layouts(board: Board, layout: str, gpus: int, config_file: Path | None) -> tuple[GpuLayout, ...]:
    if config_file is None and "g." in layout and not layout.startswith("all-"):
        placements = place(board, parse_counts(layout))
        return tuple(GpuLayout(index, mig_enabled=True, placements=placements) for index in range(gpus))
    file = parse_mig_parted(config_file.read_text(encoding="utf-8")) if config_file else builtin_mig_parted()
    pci_device_id = board.pci_device_ids[0] if board.pci_device_ids else ""
    layouts = file.resolve(layout, [GpuSlot(index, board, pci_device_id) for index in range(gpus)])
    if not layouts:
        why = (
            f"its entries are for other boards, and this one is {pci_device_id or 'of unknown PCI id'}"
            if board.mig_capable
            else "it has no MIG"
        )
        raise LayoutError(
            [f"{layout} leaves {board.product_name} as it is: {why}. A layout can be spelt: 2x1g.10gb,1x3g.40gb"]
        )
    return layouts


def _alike(board: Board, layouts: tuple[GpuLayout, ...], gpus: int) -> list[Gpu]:
    """One bar for each run of GPUs that the layout makes alike."""
    by_index = {layout.index: layout for layout in layouts}

    def made(index: int) -> tuple[bool, tuple[Placement, ...]] | None:
        layout = by_index.get(index)
        return (layout.mig_enabled, layout.placements) if layout else None

    bars = []
    for _, run in itertools.groupby(range(gpus), key=made):
        first, *rest = run
        name = f"gpu-{first}..{rest[-1]}" if rest else f"gpu-{first}"
        bars.append(planned(board, by_index.get(first), name))
    return bars


def _total(layouts: tuple[GpuLayout, ...]) -> str:
    counts = Counter(placement.profile.name for layout in layouts for placement in layout.placements)
    return f"{counts.total()} slices: {format_counts(counts)}" if counts else "no slices"
