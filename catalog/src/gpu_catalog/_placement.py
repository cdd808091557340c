"""Which MIG partitions fit one GPU together, and where: the exact search, and the words for a refusal.

A partition takes grid units, where its profile may start, and engines, wherever it starts. So the engines are summed
and the units are searched. This module never touches a GPU; the driver creates what is placed here at the places
named here, because a GPU that chooses places itself can refuse a layout that fits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gpu_catalog.boards import ENGINES, Board, CatalogError, Profile, UnknownProfileError

_ENGINE_NAMES = {
    "multiprocessors": "multiprocessors",
    "copy_engines": "copy engines",
    "decoders": "decoders",
    "encoders": "encoders",
    "jpeg_engines": "JPEG engines",
    "ofa_engines": "OFA engines",
}
_COUNTED_PROFILE = re.compile(r"(?:(?P<count>\d+)\s*[x*]\s*)?(?P<profile>\S+)")


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


def place(board: Board, counts: Mapping[str, int], *, around: Sequence[Placement] = ()) -> tuple[Placement, ...]:
    """Places for `counts` instances of each profile on one GPU, beside the placements `around`, by ascending start.

    The answer is a function of its arguments alone and is found whenever one exists. Larger profiles are placed first
    and each goes as high as it can, because the low units are the ones that every large profile needs. Raises
    LayoutError: unknown profiles, all of them; else the smallest part of the request that does not fit, and why.
    """
    request = _expand(board, counts)
    starts = _search(board, request, around)
    if starts is None:
        raise LayoutError([_refusal(board, request, around)])
    placed = [Placement(profile, start) for profile, start in zip(request, starts, strict=True)]
    return tuple(sorted(placed, key=lambda placement: placement.start))


def gpu_instance_id(board: Board, placement: Placement) -> int:
    """The id the kernel driver gives a GPU instance at this place: 0 the whole grid, 1-2 halves, 3-6 quarters, 7-14
    eighths, from left to right. Source: kmigmgr_ga100.c of open-gpu-kernel-modules; no contract, so only a simulator
    may rely on it.
    """
    size = placement.profile.size
    return board.grid_units // size - 1 + placement.start // size


def parse_counts(text: str) -> dict[str, int]:
    """Counts per profile from `2x1g.5gb,1x3g.20gb`; the number may be left out. Raises LayoutError."""
    counts: Counter[str] = Counter()
    problems = []
    for part in text.split(","):
        match = _COUNTED_PROFILE.fullmatch(part.strip())
        if match and (count := int(match["count"] or 1)):
            counts[match["profile"]] += count
        else:
            problems.append(f"{part.strip()!r} is not a profile with a count, such as 2x1g.5gb")
    if problems:
        raise LayoutError(problems)
    return dict(counts)


def format_counts(counts: Mapping[str, int]) -> str:
    """`2x 1g.5gb + 3g.20gb`, in the order of `counts`."""
    return " + ".join(f"{count}x {name}" if count > 1 else name for name, count in counts.items() if count)


def _expand(board: Board, counts: Mapping[str, int]) -> list[Profile]:
    """One entry per instance, hardest to place first. Raises LayoutError for what no GPU of this board can hold."""
    problems = []
    profiles: list[Profile] = []
    for name, count in counts.items():
        try:
            profile = board.profile(name)
        except UnknownProfileError as error:
            problems.append(str(error))
            continue
        most = profile.max_instances
        if count < 0:
            problems.append(f"{count} of {name}: a count cannot be negative")
        elif count > most:
            limit = f"at most {most} do; " if most > 1 else ""
            reason = _reason(board, [profile] * (most + 1), (), of_more=count > most + 1)
            problems.append(f"{_sum({name: count})} do not fit one {board.short_name}: {limit}{reason}")
        else:
            profiles += [profile] * count
    if problems:
        raise LayoutError(list(dict.fromkeys(problems)))
    return _hardest_first(profiles)


def _hardest_first(profiles: Iterable[Profile]) -> list[Profile]:
    return sorted(profiles, key=lambda profile: (-profile.size, len(profile.starts), profile.name))


def _search(board: Board, request: Sequence[Profile], around: Sequence[Placement]) -> list[int] | None:
    """A start for each profile of the request, or None."""
    return None if _engines_over(board, request, around) else _search_grid(board, request, around)


def _search_grid(board: Board, request: Sequence[Profile], around: Sequence[Placement]) -> list[int] | None:
    """As `_search`, by grid units alone. Equal profiles must stand side by side in the request."""
    taken_by_others = 0
    for placement in around:
        taken_by_others |= _mask(placement.profile, placement.start)
    starts: list[int] = []

    def fill(index: int, taken: int) -> bool:
        if index == len(request):
            return True
        profile = request[index]
        # Equal profiles descend, so that no two arrangements differ only by swapping them.
        below = starts[-1] if index and request[index - 1] is profile else board.grid_units
        for start in reversed(profile.starts):
            mask = _mask(profile, start)
            if start < below and not taken & mask:
                starts.append(start)
                if fill(index + 1, taken | mask):
                    return True
                starts.pop()
        return False

    return starts if fill(0, taken_by_others) else None


def _mask(profile: Profile, start: int) -> int:
    return ((1 << profile.size) - 1) << start


def _engines_over(board: Board, request: Sequence[Profile], around: Sequence[Placement]) -> dict[str, int]:
    """The engines of which more is asked than the board has, with the amount asked."""
    everything = [*request, *(placement.profile for placement in around)]
    asked = {engine: sum(profile.engine(engine) for profile in everything) for engine in ENGINES}
    return {engine: amount for engine, amount in asked.items() if amount > board.engines(engine)}


def _refusal(board: Board, request: Sequence[Profile], around: Sequence[Placement]) -> str:
    """Why the request does not fit, by its smallest part that does not, and the nearest thing that would."""
    by_grid = _search_grid(board, request, around) is None
    core = list(request)
    for index in reversed(range(len(core))):
        rest = core[:index] + core[index + 1 :]
        if (_search_grid(board, rest, around) is None) if by_grid else _engines_over(board, rest, around):
            core = rest
    text = f"{_sum(core)} {'do' if len(core) > 1 else 'does'} not fit one {board.short_name}"
    if around:
        text += f" beside {_sum(placement.profile for placement in around)}"
    text += f": {_reason(board, core, around)}"
    alternative = _alternative(board, request, core[-1], around)
    return f"{text}; {alternative} would fit" if alternative else text


def _reason(board: Board, core: Sequence[Profile], around: Sequence[Placement], *, of_more: bool = False) -> str:
    """Why `core` does not fit, of which every smaller part does, by the grid if it is the grid, else by engines.
    `of_more`: the message has named a larger number than is in `core`.
    """
    if _search_grid(board, core, around) is not None:
        over = _engines_over(board, core, around)
        needs = [f"{amount} {_ENGINE_NAMES[each]} (it has {board.engines(each)})" for each, amount in over.items()]
        takers = f"any {len(core)} of them" if of_more else "together they"
        return f"{takers} take {_join(needs, 'and')}"
    *others, last = core
    starts = _search_grid(board, others, around)
    assert starts is not None, "every smaller part of the core fits"
    placed = [*around, *(Placement(profile, start) for profile, start in zip(others, starts, strict=True))]
    wanted = {unit for start in last.starts for unit in last.units(start)}
    blockers = sorted((each for each in placed if wanted & set(each.units)), key=lambda each: each.start)
    if len(blockers) == 1:
        owner = "the first " if blockers[0].profile is last and not around else ""
        return f"{last.name} needs {_places(last)}, which {owner}{blockers[0].profile.name} takes"
    by_profile: dict[str, list[Placement]] = {}
    for blocker in blockers:
        by_profile.setdefault(blocker.profile.name, []).append(blocker)
    taken = [
        f"{_sum({name: len(each)})} take{'s' if len(each) == 1 else ''} {_spans(placement.units for placement in each)}"
        for name, each in by_profile.items()
    ]
    return f"{last.name} needs {_places(last)}, and {_join(taken, 'and')}"


def _alternative(board: Board, request: Sequence[Profile], last: Profile, around: Sequence[Placement]) -> str:
    """The request with one `last` exchanged for the largest smaller profile that makes it fit, if there is one."""
    rest = list(request)
    rest.remove(last)
    smaller = (profile for profile in board.profiles if (profile.slices, profile.size) < (last.slices, last.size))
    for profile in sorted(smaller, key=lambda profile: (-profile.slices, -profile.size, profile.name)):
        tried = _hardest_first([*rest, profile])
        if _search(board, tried, around) is not None:
            return _sum(tried)
    return ""


def _sum(profiles: Iterable[Profile] | Mapping[str, int]) -> str:
    """`4g.20gb + 4g.20gb`, `3x 1g.5gb + 2g.10gb`: pairs are spelt out, more are counted."""
    counts = profiles if isinstance(profiles, Mapping) else Counter(profile.name for profile in profiles)
    return " + ".join(f"{count}x {name}" if count > 2 else " + ".join([name] * count) for name, count in counts.items())


def _places(profile: Profile) -> str:
    spans = _spans((profile.units(start) for start in profile.starts), "or")
    return f"one of the units {spans}" if profile.size == 1 and len(profile.starts) > 1 else f"units {spans}"


def _spans(places: Iterable[range], last: str = "and") -> str:
    """`0-3 and 4-7`; neighbouring single units are told as one span."""
    spans: list[range] = []
    for units in places:
        if spans and len(units) == 1 and units.start == spans[-1].stop:
            spans[-1] = range(spans[-1].start, units.stop)
        else:
            spans.append(units)
    return _join([f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans], last)


def _join(words: Sequence[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
