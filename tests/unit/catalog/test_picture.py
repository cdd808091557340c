"""The picture as text, at the width of a plain terminal and of a wide one. Set UPDATE_GOLDEN=1 to redraw the files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from gpu_catalog.boards import load_catalog
from gpu_catalog.occupancy import Occupancy, occupancy
from gpu_catalog.picture import Bars, draw, draw_board, draw_boards
from gpu_catalog.slices import build_slices

from .nodes import A100, RTX_PRO_6000, T4, claim, partitioned, pod, whole

DATA = Path(__file__).parent / "data"


def text(drawing: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(drawing)
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def fashion_mnist() -> Occupancy:
    """Eight GPUs: six balanced, one in seven, one whole; three workloads running, one pod waiting."""
    devices = [device for minor in range(6) for device in partitioned(minor)]
    devices += [*partitioned(6, A100, **{"1g.5gb": 7}), whole(7)]
    slices = build_slices("gpu.nvidia.com", "gpu-sandbox-0", "uid", 1, devices)
    running = {
        "large": ("gpu-0-mig-3g20gb-9-4", "x7k2p"),
        "medium": ("gpu-0-mig-2g10gb-14-2", "q9w4z"),
        "small": ("gpu-0-mig-1g5gb-19-0", "b5n8t"),
    }
    claims = [claim("fashion-mnist-waiting-k4j7h-gpu-m2c6v")]
    pods = [pod("fashion-mnist-waiting-k4j7h", "fashion-mnist-waiting-k4j7h-gpu-m2c6v", phase="Pending", node="")]
    for name, (device, suffix) in running.items():
        made = f"fashion-mnist-{name}"
        claims.append(claim(f"{made}-{suffix}-gpu-n8d3r", device, pods=(f"{made}-{suffix}",), pool="gpu-sandbox-0"))
        pods.append(
            pod(f"{made}-{suffix}", f"{made}-{suffix}-gpu-n8d3r", node="gpu-sandbox-0", generateName=f"{made}-")
        )
    return occupancy(slices, claims, pods)


@pytest.mark.parametrize("width", [80, 120])
def test_the_picture_of_a_node(width: int) -> None:
    picture = text(draw(fashion_mnist()), width)

    golden = DATA / f"picture-{width}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(picture, encoding="utf-8")
    assert picture == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 80, 81, 97, 120, 200])
def test_bars_are_straight_and_in_proportion_at_any_width(width: int) -> None:
    (node,) = fashion_mnist().nodes
    lines = text(Bars(node.gpus), width).splitlines()

    assert {cell_len(line) for line in lines} == {cell_len(lines[0])}
    assert cell_len(lines[0]) <= width
    edges = {line.index("│", 7) for line in lines[:12:2]}
    assert len(edges) == 1
    one, two, three = (len(part) + 1 for part in lines[0].split("│")[2:5])
    assert (two, three) == (2 * one, 4 * one)


def test_held_slices_stand_out_in_colour_and_free_ones_are_dim() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard", legacy_windows=False)
    console.print(Bars(fashion_mnist().nodes[0].gpus[:1]))
    assert isinstance(console.file, io.StringIO)
    first = console.file.getvalue().splitlines()[0]

    assert "\x1b[30;43m3g.20gb" in first  # held: black on yellow
    assert "\x1b[2;36m1g.5gb" in first  # free: dim cyan


def test_grids_of_four_and_twelve_units() -> None:
    devices = [*partitioned(0, RTX_PRO_6000, **{"1g.24gb": 2, "2g.48gb": 1}), whole(1, T4)]
    seen = occupancy(build_slices("gpu.nvidia.com", "n", "uid", 1, devices), [], [])

    assert text(draw(seen), 80).splitlines()[:3] == [
        "n  1 x NVIDIA RTX PRO 6000 Blackwell Server Edition, 1 x Tesla T4, 4 devices, 0",
        "held",
        "gpu-0 │1g.24gb          │1g.24gb          │2g.48gb                            │",
    ]


def test_a_cluster_without_gpus_says_so() -> None:
    assert text(draw(Occupancy((), ())), 80).startswith("No GPUs are published")
    assert text(draw(occupancy(build_slices("gpu.nvidia.com", "n", "u", 1, [whole(0)]), [], [])), 80).endswith(
        "No pod has a claim on a GPU.\n"
    )


def test_every_board_is_listed_with_what_fits() -> None:
    listed = text(draw_boards(load_catalog()), 200)

    assert all(board.key in listed for board in load_catalog().boards)
    assert "7x1g.5gb, 1x1g.5gb+me, 4x1g.10gb, 3x2g.10gb, 2x3g.20gb, 1x4g.20gb, 1x7g.40gb" in listed
    assert "7x1g.34gb~" in listed  # the B300's numbers are estimates
    assert "no MIG" in listed


def test_one_board_in_full() -> None:
    lines = text(draw_board(A100), 120).splitlines()

    assert lines[0] == "NVIDIA A100-SXM4-40GB  Ampere, 40960 MiB, 108 multiprocessors, CUDA 8.0, PCI 0x20B010DE"
    assert lines[1].split() == [
        "profile",
        "id",
        "MiB",
        "SM",
        "CE",
        "DEC",
        "ENC",
        "JPG",
        "OFA",
        "fit",
        "units",
        "starts",
    ]
    assert lines[2].split() == [
        "1g.5gb",
        "19",
        "4864",
        "14",
        "1",
        "0",
        "0",
        "0",
        "0",
        "7",
        "1",
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
    ]
    assert text(draw_board(T4), 120).endswith("no MIG\n")
