from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gpu_catalog.boards import ENGINES, Board, load_catalog
from gpu_catalog.layouts import LayoutError, Placement, format_counts, gpu_instance_id, parse_counts, place

from .nodes import A30, A100, H100, RTX_PRO_6000, T4

BOARDS = [A100, H100, A30, RTX_PRO_6000, load_catalog().board("b200"), load_catalog().board("rtx-pro-4500-blackwell")]


@st.composite
def requests(draw: st.DrawFn, most: int = 5) -> tuple[Board, dict[str, int]]:
    """A board and a few instances of its profiles, small enough to try every arrangement of them."""
    board = draw(st.sampled_from(BOARDS))
    names = draw(st.lists(st.sampled_from([profile.name for profile in board.profiles]), min_size=1, max_size=most))
    return board, {name: names.count(name) for name in names}


def fits_by_trying_everything(board: Board, counts: dict[str, int], around: Sequence[Placement] = ()) -> bool:
    profiles = [board.profile(name) for name, count in counts.items() for _ in range(count)]
    everything = [*profiles, *(placement.profile for placement in around)]
    if any(sum(profile.engine(engine) for profile in everything) > board.engines(engine) for engine in ENGINES):
        return False
    taken = [unit for placement in around for unit in placement.units]
    for starts in itertools.product(*(profile.starts for profile in profiles)):
        units = [unit for profile, start in zip(profiles, starts, strict=True) for unit in profile.units(start)]
        if len([*units, *taken]) == len({*units, *taken}):
            return True
    return False


@given(requests())
def test_a_layout_is_found_exactly_when_one_exists(request_: tuple[Board, dict[str, int]]) -> None:
    board, counts = request_
    try:
        place(board, counts)
        found = True
    except LayoutError:
        found = False

    assert found == fits_by_trying_everything(board, counts)


@given(requests(most=7))
def test_what_is_placed_is_what_was_asked_without_overlap_inside_the_grid(
    request_: tuple[Board, dict[str, int]],
) -> None:
    board, counts = request_
    try:
        placements = place(board, counts)
    except LayoutError:
        assume(False)

    names = [placement.profile.name for placement in placements]
    assert {name: names.count(name) for name in names} == counts
    assert all(placement.start in placement.profile.starts for placement in placements)
    units = [unit for placement in placements for unit in placement.units]
    assert units == sorted(set(units))
    assert set(units) <= set(range(board.grid_units))
    for engine in ENGINES:
        assert sum(placement.profile.engine(engine) for placement in placements) <= board.engines(engine)
    assert len({gpu_instance_id(board, placement) for placement in placements}) == len(placements)


@given(requests())
def test_the_order_of_the_request_changes_nothing(request_: tuple[Board, dict[str, int]]) -> None:
    board, counts = request_
    reordered = dict(reversed(counts.items()))
    try:
        placements = place(board, counts)
    except LayoutError as refused:
        with pytest.raises(LayoutError, match=re.escape(str(refused).split(":")[0])):
            place(board, reordered)
    else:
        assert place(board, reordered) == placements


@given(requests(most=4), st.data())
def test_around_others_a_layout_is_found_exactly_when_one_exists(
    request_: tuple[Board, dict[str, int]], data: st.DataObject
) -> None:
    board, counts = request_
    profile = data.draw(st.sampled_from(board.profiles))
    there = [Placement(profile, data.draw(st.sampled_from(profile.starts)))]
    try:
        added = place(board, counts, around=there)
    except LayoutError:
        assert not fits_by_trying_everything(board, counts, there)
    else:
        units = [unit for placement in [*there, *added] for unit in placement.units]
        assert len(units) == len(set(units))


@given(requests(most=6))
def test_a_refusal_names_a_part_that_does_not_fit_and_an_alternative_that_does(
    request_: tuple[Board, dict[str, int]],
) -> None:
    board, counts = request_
    try:
        place(board, counts)
        assume(False)
    except LayoutError as refused:
        problems = refused.problems

    for problem in problems:
        part = problem.partition(" do not fit ")[0]
        assert not fits_by_trying_everything(board, sum_to_counts(part))
        if alternative := re.search(r"; ([^;]*) would fit$", problem):
            assert place(board, sum_to_counts(alternative[1]))


def sum_to_counts(text: str) -> dict[str, int]:
    return parse_counts(re.sub(r" \+ ", ",", text))


@pytest.mark.parametrize(
    ("board", "layout", "problem"),
    [
        (
            A100,
            "2x4g.20gb",
            "4g.20gb + 4g.20gb do not fit one A100-SXM4-40GB: 4g.20gb needs units 0-3, which the first 4g.20gb takes",
        ),
        (
            A100,
            "8x1g.5gb",
            (
                "8x 1g.5gb do not fit one A100-SXM4-40GB: at most 7 do; "
                "1g.5gb needs one of the units 0-6, and 7x 1g.5gb take 0-6"
            ),
        ),
        (
            A100,
            "2x1g.5gb+me",
            (
                "1g.5gb+me + 1g.5gb+me do not fit one A100-SXM4-40GB: "
                "together they take 2 JPEG engines (it has 1) and 2 OFA engines (it has 1)"
            ),
        ),
        (
            A100,
            "5x1g.5gb+me",
            (
                "5x 1g.5gb+me do not fit one A100-SXM4-40GB: "
                "any 2 of them take 2 JPEG engines (it has 1) and 2 OFA engines (it has 1)"
            ),
        ),
        (
            A100,
            "2x3g.20gb,1g.5gb",
            (
                "3g.20gb + 3g.20gb + 1g.5gb do not fit one A100-SXM4-40GB: "
                "1g.5gb needs one of the units 0-6, and 3g.20gb + 3g.20gb take 0-3 and 4-7"
            ),
        ),
        (
            A100,
            "4g.20gb,2x2g.10gb",
            (
                "4g.20gb + 2g.10gb + 2g.10gb do not fit one A100-SXM4-40GB: "
                "2g.10gb needs units 0-1, 2-3 or 4-5, and 4g.20gb takes 0-3 and 2g.10gb takes 4-5; "
                "4g.20gb + 2g.10gb + 1g.10gb would fit"
            ),
        ),
        (
            A100,
            "7g.40gb,1g.5gb",
            "7g.40gb + 1g.5gb do not fit one A100-SXM4-40GB: 1g.5gb needs one of the units 0-6, which 7g.40gb takes",
        ),
        (
            RTX_PRO_6000,
            "1g.24gb+me.all,1g.24gb",
            (
                "1g.24gb + 1g.24gb+me.all do not fit one RTX PRO 6000 Blackwell Server Edition: "
                "together they take 5 decoders (it has 4), 5 encoders (it has 4) and 5 JPEG engines (it has 4)"
            ),
        ),
    ],
)
def test_a_refusal_says_why(board: Board, layout: str, problem: str) -> None:
    with pytest.raises(LayoutError) as refused:
        place(board, parse_counts(layout))

    assert refused.value.problems == (problem,)


def test_a_refusal_beside_what_is_there_says_so() -> None:
    with pytest.raises(LayoutError) as refused:
        place(A100, {"4g.20gb": 1}, around=[Placement(A100.profile("3g.20gb"), 0)])

    assert str(refused.value) == (
        "4g.20gb does not fit one A100-SXM4-40GB beside 3g.20gb: "
        "4g.20gb needs units 0-3, which 3g.20gb takes; 3g.20gb would fit"
    )


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(LayoutError) as refused:
        place(A100, {"1g.5gb": 10**9, "1g.6gb": 1, "3g.20gb": -1, "7g.80gb": 1})

    assert [problem.split(" do ")[0].split(",")[0] for problem in refused.value.problems] == [
        "1000000000x 1g.5gb",
        "A100-SXM4-40GB has no MIG profile '1g.6gb'",
        "-1 of 3g.20gb: a count cannot be negative",
        "A100-SXM4-40GB has no MIG profile '7g.80gb'",
    ]


def test_a_board_without_mig_is_refused() -> None:
    with pytest.raises(LayoutError, match="Tesla T4 has no MIG"):
        place(T4, {"1g.5gb": 1})


def test_only_me_less_slices_fit_beside_the_one_with_all_media_engines() -> None:
    placements = place(RTX_PRO_6000, {"1g.24gb+me.all": 1, "1g.24gb-me": 3})

    assert [(each.profile.name, each.start) for each in placements] == [
        ("1g.24gb-me", 0),
        ("1g.24gb-me", 3),
        ("1g.24gb-me", 6),
        ("1g.24gb+me.all", 9),
    ]


def test_nothing_asked_is_nothing_placed() -> None:
    assert place(A100, {}) == place(A100, {"1g.5gb": 0}) == ()


@pytest.mark.parametrize(
    ("board", "layout", "instance_ids"),
    [
        # The same instances, made one after the other by the real tools without naming places.
        (A100, "3g.20gb,2g.10gb,2x1g.5gb", {2, 4, 7, 8}),
        (A100, "2g.10gb,5x1g.5gb", {5, 13, 7, 8, 9, 10}),
        (A100, "1g.5gb,2g.10gb,4g.20gb", {13, 5, 1}),
        (A30, "2x1g.6gb,2g.12gb", {3, 4, 2}),
        (RTX_PRO_6000, "4x1g.24gb", {3, 4, 5, 6}),
    ],
)
def test_places_and_ids_are_those_a_real_gpu_chose(board: Board, layout: str, instance_ids: set[int]) -> None:
    placements = place(board, parse_counts(layout))

    assert {gpu_instance_id(board, placement) for placement in placements} == instance_ids


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("1g.5gb", {"1g.5gb": 1}),
        ("2x1g.5gb,1x3g.20gb", {"1g.5gb": 2, "3g.20gb": 1}),
        (" 2 x 1g.5gb , 1g.5gb+me ", {"1g.5gb": 2, "1g.5gb+me": 1}),
        ("1g.5gb,1g.5gb", {"1g.5gb": 2}),
    ],
)
def test_counts_are_read_from_text(text: str, counts: dict[str, int]) -> None:
    assert parse_counts(text) == counts


def test_text_that_is_no_counts_is_refused_with_every_part() -> None:
    with pytest.raises(LayoutError) as refused:
        parse_counts("1g.5gb,,0x2g.10gb,a b")

    assert refused.value.problems == tuple(
        f"{part!r} is not a profile with a count, such as 2x1g.5gb" for part in ("", "0x2g.10gb", "a b")
    )


def test_counts_are_written_as_people_say_them() -> None:
    assert format_counts({"1g.5gb": 2, "2g.10gb": 0, "3g.20gb": 1}) == "2x 1g.5gb + 3g.20gb"
