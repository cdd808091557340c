"""Boards and profiles as inputs of a component: the catalogue's answers turned into problems with property paths."""

from collections.abc import Iterator, Sequence
from typing import Any

from eks_gpu_dra._checks import Problem, list_of, nearest, text
from gpu_catalog.boards import Board, CatalogError, Profile, load_catalog


def mig_boards(path: str, value: Any) -> Iterator[Problem]:
    """A list of boards that have MIG, by key (a100-sxm4-40gb) or product name (NVIDIA A100-SXM4-40GB)."""
    problems = tuple(list_of(text)(path, value))
    yield from problems
    if problems:
        return
    if not value:
        yield Problem(path, "is empty: name the boards of the cluster's GPU nodes, for example a100-sxm4-40gb")
    for index, name in enumerate(value):
        try:
            board = load_catalog().board(name)
        except CatalogError as error:
            yield Problem(f"{path}[{index}]", str(error))
            continue
        if not board.mig_capable:
            with_mig = ", ".join(board.key for board in load_catalog().mig_boards())
            yield Problem(f"{path}[{index}]", f"{board.product_name} has no MIG; boards that have it: {with_mig}")


def profiles_by_name(boards: Sequence[str]) -> dict[str, tuple[Profile, ...]]:
    """Every MIG profile of the boards by name, smallest first. Boards that share a name each add their own profile."""
    found: dict[str, list[Profile]] = {}
    for board in _boards(boards):
        for profile in board.profiles:
            found.setdefault(profile.name, []).append(profile)
    ordered = sorted(found.items(), key=lambda item: (item[1][0].slices, item[1][0].memory_mib, item[0]))
    return {name: tuple(profiles) for name, profiles in ordered}


def check_profile(path: str, name: object, boards: Sequence[str]) -> Iterator[Problem]:
    """A MIG profile that at least one of the boards has."""
    known = profiles_by_name(boards)
    if name not in known:
        on = ", ".join(board.key for board in _boards(boards)) if len(boards) <= 4 else "any known board"
        yield Problem(path, f"{name!r} is not a MIG profile of {on}: {nearest(name, known)}")


def all_mig_boards() -> tuple[str, ...]:
    """The keys of every board with MIG."""
    return tuple(board.key for board in load_catalog().mig_boards())


def _boards(names: Sequence[str]) -> tuple[Board, ...]:
    """The boards without repetition: a key and a product name may mean the same one."""
    return tuple(dict.fromkeys(load_catalog().board(name) for name in names))
