from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpu_catalog
from gpu_catalog.boards import (
    ENGINES,
    Board,
    CatalogDataError,
    NoMigError,
    UnknownBoardError,
    UnknownProfileError,
    decode_catalog,
    load_catalog,
)
from gpu_catalog.devices import MIB, mig_profile_name
from gpu_catalog.layouts import LayoutError, place

from .nodes import A100, T4

CATALOG = load_catalog()
MIG_BOARDS = pytest.mark.parametrize("board", CATALOG.mig_boards(), ids=lambda board: board.key)
DOCUMENT = json.loads((Path(gpu_catalog.__file__).parent / "data" / "boards.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a100-sxm4-40gb", "a100-sxm4-40gb"),
        ("A100-SXM4-40GB", "a100-sxm4-40gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm4-40gb"),
        ("NVIDIA-A100-SXM4-40GB", "a100-sxm4-40gb"),
        ("NVIDIA H100 80GB HBM3", "h100-80gb-hbm3"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb-pcie"),
        ("Tesla T4", "t4"),
        ("Tesla-T4", "t4"),
    ],
)
def test_a_board_is_found_by_key_product_name_or_node_label(name: str, key: str) -> None:
    assert CATALOG.board(name).key == key


def test_an_unknown_board_names_the_nearest_and_all() -> None:
    with pytest.raises(UnknownBoardError) as refused:
        CATALOG.board("a100-sxm-40")

    text = str(refused.value)
    assert text.startswith("unknown board 'a100-sxm-40', nearest: a100-sxm4-40gb, ")
    assert all(board.key in text for board in CATALOG.boards)


def test_part_of_a_name_brings_every_board_that_has_it() -> None:
    with pytest.raises(
        UnknownBoardError, match="nearest: a100-80gb-pcie, a100-pcie-40gb, a100-sxm4-40gb, a100-sxm4-80"
    ):
        CATALOG.board("a100")


def test_an_unknown_profile_names_the_nearest_and_all() -> None:
    with pytest.raises(UnknownProfileError) as refused:
        A100.profile("3g.20g")

    assert str(refused.value) == (
        "A100-SXM4-40GB has no MIG profile '3g.20g', nearest: 3g.20gb, 4g.20gb, 7g.40gb; "
        "it has 1g.5gb, 1g.5gb+me, 1g.10gb, 2g.10gb, 3g.20gb, 4g.20gb, 7g.40gb"
    )


@pytest.mark.parametrize("key", ["t4", "a10g", "l4", "l40s"])
def test_a_board_without_mig_says_so(key: str) -> None:
    board = CATALOG.board(key)

    assert not board.mig_capable
    with pytest.raises(NoMigError, match=r"has no MIG, so it cannot be split into '1g.5gb'; use whole or shared GPUs"):
        board.profile("1g.5gb")


def test_the_a100_is_as_nvidia_smi_lists_it() -> None:
    listed = {
        profile.name: (
            profile.gi_profile_id,
            profile.memory_mib,
            *(profile.engine(engine) for engine in ENGINES),
            profile.max_instances,
            profile.starts,
            profile.size,
        )
        for profile in A100.profiles
    }

    assert listed == {
        "1g.5gb": (19, 4864, 14, 1, 0, 0, 0, 0, 7, (0, 1, 2, 3, 4, 5, 6), 1),
        "1g.5gb+me": (20, 4864, 14, 1, 1, 0, 1, 1, 1, (0, 1, 2, 3, 4, 5, 6), 1),
        "1g.10gb": (15, 9856, 14, 1, 1, 0, 0, 0, 4, (0, 2, 4, 6), 2),
        "2g.10gb": (14, 9856, 28, 2, 1, 0, 0, 0, 3, (0, 2, 4), 2),
        "3g.20gb": (9, 19968, 42, 3, 2, 0, 0, 0, 2, (0, 4), 4),
        "4g.20gb": (5, 19968, 56, 4, 2, 0, 0, 0, 1, (0,), 4),
        "7g.40gb": (0, 40192, 98, 7, 5, 0, 1, 1, 1, (0,), 8),
    }
    assert (A100.memory_mib, A100.grid_units, A100.pci_device_ids) == (40960, 8, ("0x20B010DE",))


def test_boards_of_one_family_share_their_profiles() -> None:
    pcie = CATALOG.board("a100-pcie-40gb")

    assert (pcie.family, pcie.profiles) == (A100.family, A100.profiles)
    assert pcie.pci_device_ids != A100.pci_device_ids


@MIG_BOARDS
def test_every_profile_name_follows_from_the_memory_as_the_driver_computes_it(board: Board) -> None:
    for profile in board.profiles:
        suffix = profile.name.partition("gb")[2]
        computed = mig_profile_name(profile.memory_mib, board.memory_mib * MIB, profile.slices, suffix)
        assert computed == profile.name


@MIG_BOARDS
def test_max_instances_is_what_fits(board: Board) -> None:
    for profile in board.profiles:
        assert len(place(board, {profile.name: profile.max_instances})) == profile.max_instances
        with pytest.raises(LayoutError):
            place(board, {profile.name: profile.max_instances + 1})


@MIG_BOARDS
def test_one_profile_takes_the_whole_grid_and_all_that_can_be_taken(board: Board) -> None:
    largest = max(board.profiles, key=lambda profile: profile.size)

    assert largest.size == board.grid_units
    assert all(largest.engine(engine) == board.engines(engine) for engine in ENGINES)
    assert board.multiprocessors >= largest.multiprocessors


def test_a_board_without_mig_has_no_engines_to_share() -> None:
    assert [T4.engines(engine) for engine in ENGINES] == [0] * len(ENGINES)


Damage = Callable[[dict[str, Any]], None]


def _family(document: dict[str, Any], name: str = "a100-40gb") -> dict[str, Any]:
    family: dict[str, Any] = next(each for each in document["families"] if each["family"] == name)
    return family


def _set(what: str, value: Any) -> Damage:
    return lambda document: _family(document).__setitem__(what, value)


def _profile(what: str, value: Any, number: int = 0) -> Damage:
    return lambda document: _family(document)["profiles"][number].__setitem__(what, value)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_profile("starts", [0, 7, 8]), "a100-40gb 1g.5gb: units 8-8 are outside the grid of 8"),
        (_profile("starts", [-1, 0]), "a100-40gb 1g.5gb: units -1--1 are outside the grid of 8"),
        (_profile("starts", []), "a100-40gb 1g.5gb: size 1 and starts () are no placements"),
        (_profile("starts", [1, 0]), "a100-40gb 1g.5gb: size 1 and starts (1, 0) are no placements"),
        (_profile("size", 0), "a100-40gb 1g.5gb: size 0 and starts (0, 1, 2, 3, 4, 5, 6) are no placements"),
        (_profile("name", "2g.5gb"), "a100-40gb 2g.5gb: the name does not fit 1 slices"),
        (_profile("name", "1g.5gb", 1), "a100-40gb: profile name 1g.5gb is there twice"),
        (_profile("gi_profile_id", 20), "a100-40gb: GPU instance profile id 20 is there twice"),
        (_profile("gi_profile_enum", 7), "a100-40gb: GPU instance profile enum 7 is there twice"),
        (_profile("max_instances", 8), "a100-40gb 1g.5gb: max_instances 8 with 7 placements"),
        (_profile("memory_mib", 0), "a100-40gb 1g.5gb: 14 multiprocessors, 0 MiB"),
        (_profile("decoders", -1), "a100-40gb 1g.5gb: a negative engine count"),
        (_profile("ci_profile_id", 3), "a100-40gb 1g.5gb: ci_profile_id is not that of its whole compute instance"),
        (_profile("colour", "red"), "a100-40gb 1g.5gb: unknown key 'colour'"),
        (
            _profile("unverified_fields", ["sise"]),
            "a100-40gb 1g.5gb: unverified_fields names 'sise', which is no field",
        ),
        (_set("sources", ["hearsay"]), "a100-40gb: source 'hearsay' is not in sources"),
        (_set("colour", "red"), "a100-40gb: unknown key 'colour'"),
        (_set("mig_mode", None), "a100-40gb: mig_mode and profiles go together"),
        (
            _set("boards", [{"product_name": "NVIDIA A30", "pci_device_ids": ["0x20B7"]}]),
            "a100-40gb: PCI id '0x20B7' is not of the form 0x20B010DE",
        ),
        (
            _set("boards", [{"product_name": "NVIDIA A30", "pci_device_ids": []}]),
            "board key a30 is there twice",
        ),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(damage: Damage, problem: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    damage(document)

    with pytest.raises(CatalogDataError) as refused:
        decode_catalog(document)
    assert problem in refused.value.problems


def test_all_problems_of_a_table_are_told_at_once() -> None:
    document = copy.deepcopy(DOCUMENT)
    _profile("decoders", -1)(document)
    _profile("max_instances", 9, 3)(document)

    with pytest.raises(CatalogDataError) as refused:
        decode_catalog(document)
    assert len(refused.value.problems) == 2


def test_a_table_of_another_version_is_refused() -> None:
    with pytest.raises(CatalogDataError, match="this version reads 'gpu-catalog/1'"):
        decode_catalog({"schema": "gpu-catalog/2"})


def _run(program: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()


def test_importing_the_boards_takes_less_than_50_ms() -> None:
    program = """
import time
started = time.process_time()
import gpu_catalog.boards
print(time.process_time() - started)
"""
    assert min(float(_run(program)[0]) for _ in range(3)) < 0.05


def test_the_core_needs_no_package_to_be_imported() -> None:
    program = """
import sys
import gpu_catalog.boards, gpu_catalog.devices, gpu_catalog.layouts, gpu_catalog.slices, gpu_catalog.occupancy
print(*{"yaml", "pydantic", "rich", "typer", "lightkube"} & set(sys.modules))
"""
    assert _run(program) == []
