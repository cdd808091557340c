"""GPU boards and their MIG profiles as typed, validated facts.

Owns the packaged table (`data/boards.json`) and the look-up by name. It reads nothing but that file, and never a GPU:
what a real device reports comes from NVML and may differ by driver branch, so profiles are matched by name or id and
never by their MiB. Loading is lazy and cached; importing this module costs a few milliseconds.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gpu_catalog.spelling import hint

ENGINES = ("multiprocessors", "copy_engines", "decoders", "encoders", "jpeg_engines", "ofa_engines")
"""What a GPU instance takes of its GPU beside grid units and memory, by the name of the `Profile` field."""

_DATA = Path(__file__).with_name("data") / "boards.json"
_SCHEMA = "gpu-catalog/1"
_PROFILE_NAME = re.compile(r"\d+g\.\d+gb([+-][a-z]+(\.[a-z]+)*)?")
_PCI_DEVICE_ID = re.compile(r"0x[0-9A-F]{4}10DE")


class CatalogError(ValueError):
    """Something was asked of the catalogue that it cannot answer; the text says what to do."""


class CatalogDataError(CatalogError):
    """The packaged table contradicts itself. Every problem found is in `problems`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the board table is not valid:\n" + "\n".join(f"- {problem}" for problem in problems))


class UnknownBoardError(CatalogError):
    """No board has this key or product name."""


class UnknownProfileError(CatalogError):
    """The board has no profile of this name."""


class NoMigError(UnknownProfileError):
    """The board has no MIG at all."""


@dataclass(frozen=True, slots=True)
class ComputeInstanceProfile:
    """A way to divide a GPU instance into compute instances: `max_instances` of `slices` compute slices each."""

    ci_profile_id: int
    slices: int
    max_instances: int


@dataclass(frozen=True, slots=True)
class Profile:
    """One GPU instance profile of one board.

    `gi_profile_id` is the id NVML answers with and takes for creation; `gi_profile_enum` is the
    NVML_GPU_INSTANCE_PROFILE_* number it is looked up by. `slices` are compute slices (the "3" of 3g.20gb); `size`
    and `starts` are units of the board's placement grid. `ci_profile_id` is the compute instance that fills the whole
    GPU instance. A field named in `unverified_fields` has no first-hand source.
    """

    name: str
    gi_profile_id: int
    gi_profile_enum: int
    ci_profile_id: int
    slices: int
    memory_mib: int
    multiprocessors: int
    copy_engines: int
    decoders: int
    encoders: int
    jpeg_engines: int
    ofa_engines: int
    size: int
    starts: tuple[int, ...]
    max_instances: int
    compute_instances: tuple[ComputeInstanceProfile, ...]
    unverified_fields: tuple[str, ...] = ()

    def engine(self, engine: str) -> int:
        """How many of one of `ENGINES` an instance takes."""
        value: int = getattr(self, engine)
        return value

    def units(self, start: int) -> range:
        """The grid units an instance at `start` covers."""
        return range(start, start + self.size)


@dataclass(frozen=True, slots=True)
class Board:
    """One product, named as NVML names it. Boards of one `family` share geometry, profiles and memory.

    `memory_mib` is NVML's total. `grid_units` is the length of the MIG placement grid, 0 without MIG. `sources` names
    entries of `Catalog.sources`.
    """

    key: str
    product_name: str
    family: str
    architecture: str
    brand: str
    compute_capability: str
    memory_mib: int
    multiprocessors: int
    pci_device_ids: tuple[str, ...]
    grid_units: int
    mig_mode_needs_reset: bool
    mig_mode_persists: bool
    profiles: tuple[Profile, ...]
    sources: tuple[str, ...]
    unverified_fields: tuple[str, ...]

    @property
    def mig_capable(self) -> bool:
        return bool(self.profiles)

    @property
    def short_name(self) -> str:
        """The product name without the maker's, for messages: `A100-SXM4-40GB`."""
        return self.product_name.removeprefix("NVIDIA ")

    def profile(self, name: str) -> Profile:
        """The profile called `name`. Raises NoMigError or UnknownProfileError, which names the nearest."""
        for profile in self.profiles:
            if profile.name == name:
                return profile
        if not self.profiles:
            raise NoMigError(
                f"{self.short_name} has no MIG, so it cannot be split into {name!r}; "
                "use whole or shared GPUs, or a board that `gpu-catalog boards` lists with MIG profiles"
            )
        names = [profile.name for profile in self.profiles]
        raise UnknownProfileError(
            f"{self.short_name} has no MIG profile {name!r}{hint(name, names)}; it has {', '.join(names)}"
        )

    def engines(self, engine: str) -> int:
        """How many of one of `ENGINES` all GPU instances together can take: what the largest profile takes."""
        return max((profile.engine(engine) for profile in self.profiles), default=0)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All boards, and what the source ids in them stand for."""

    boards: tuple[Board, ...]
    sources: Mapping[str, str]

    def board(self, name: str) -> Board:
        """The board with this key, product name or `nvidia.com/gpu.product` label, in any case.

        Raises UnknownBoardError, which names the nearest and lists the rest.
        """
        wanted = board_key(name)
        for board in self.boards:
            if board.key == wanted:
                return board
        keys = [board.key for board in self.boards]
        raise UnknownBoardError(f"unknown board {name!r}{hint(wanted, keys)}; the boards are {', '.join(sorted(keys))}")

    def mig_boards(self) -> tuple[Board, ...]:
        return tuple(board for board in self.boards if board.mig_capable)


def board_key(product_name: str) -> str:
    """The key of a product: `NVIDIA A100-SXM4-40GB` is `a100-sxm4-40gb`, `Tesla T4` is `t4`."""
    key = re.sub(r"[^a-z0-9]+", "-", product_name.casefold()).strip("-")
    for maker in ("nvidia-", "tesla-"):
        key = key.removeprefix(maker)
    return key


@functools.cache
def load_catalog() -> Catalog:
    """The packaged catalogue, read and validated once. Raises CatalogDataError with every problem in it."""
    return decode_catalog(json.loads(_DATA.read_text(encoding="utf-8")))


def decode_catalog(document: Mapping[str, Any]) -> Catalog:
    """A catalogue from a document of the form of `data/boards.json`. Raises CatalogDataError with all problems."""
    problems: list[str] = []
    if document.get("schema") != _SCHEMA:
        raise CatalogDataError([f"schema is {document.get('schema')!r}, this version reads {_SCHEMA!r}"])
    sources: dict[str, str] = document["sources"]
    boards = [board for family in document["families"] for board in _decode_family(family, sources, problems)]
    problems += [f"board key {key} is there twice" for key in _repeated(board.key for board in boards)]
    if problems:
        raise CatalogDataError(problems)
    return Catalog(boards=tuple(boards), sources=sources)


_FAMILY_KEYS = {
    *("family", "architecture", "brand", "compute_capability", "memory_mib", "multiprocessors", "grid_units"),
    *("mig_mode", "sources", "unverified_fields", "boards", "profiles", "memory_variants"),
}
_BOARD_KEYS = {"product_name", "pci_device_ids", "unverified_fields"}
_PROFILE_KEYS = {field.name for field in fields(Profile)}


def _decode_family(family: Mapping[str, Any], sources: Mapping[str, str], problems: list[str]) -> list[Board]:
    name = family["family"]
    problems += [f"{name}: unknown key {key!r}" for key in sorted(family.keys() - _FAMILY_KEYS)]
    problems += [
        f"{name}: source {source!r} is not in sources" for source in family["sources"] if source not in sources
    ]
    profiles = tuple(_decode_profile(name, profile, problems) for profile in family["profiles"])
    problems += _geometry_problems(name, family["grid_units"], family["multiprocessors"], profiles)
    mig_mode = family["mig_mode"]
    if (mig_mode is None) == bool(profiles):
        problems.append(f"{name}: mig_mode and profiles go together")
    boards = []
    for board in family["boards"]:
        problems += [f"{name}: unknown board key {key!r}" for key in sorted(board.keys() - _BOARD_KEYS)]
        problems += [
            f"{name}: PCI id {pci_id!r} is not of the form 0x20B010DE"
            for pci_id in board["pci_device_ids"]
            if not _PCI_DEVICE_ID.fullmatch(pci_id)
        ]
        boards.append(
            Board(
                key=board_key(board["product_name"]),
                product_name=board["product_name"],
                family=name,
                architecture=family["architecture"],
                brand=family["brand"],
                compute_capability=family["compute_capability"],
                memory_mib=family["memory_mib"],
                multiprocessors=family["multiprocessors"],
                pci_device_ids=tuple(board["pci_device_ids"]),
                grid_units=family["grid_units"],
                mig_mode_needs_reset=bool(mig_mode and mig_mode["needs_reset"]),
                mig_mode_persists=bool(mig_mode and mig_mode["persists"]),
                profiles=profiles,
                sources=tuple(family["sources"]),
                unverified_fields=tuple(sorted({*family["unverified_fields"], *board.get("unverified_fields", ())})),
            )
        )
    return boards


def _decode_profile(family: str, profile: Mapping[str, Any], problems: list[str]) -> Profile:
    where = f"{family} {profile['name']}"
    problems += [f"{where}: unknown key {key!r}" for key in sorted(profile.keys() - _PROFILE_KEYS)]
    known = {key: value for key, value in profile.items() if key in _PROFILE_KEYS}
    known["starts"] = tuple(known["starts"])
    known["compute_instances"] = tuple(ComputeInstanceProfile(**each) for each in known["compute_instances"])
    known["unverified_fields"] = tuple(known.get("unverified_fields", ()))
    problems += [
        f"{where}: unverified_fields names {field!r}, which is no field"
        for field in known["unverified_fields"]
        if field not in _PROFILE_KEYS
    ]
    return Profile(**known)


def _geometry_problems(family: str, grid_units: int, multiprocessors: int, profiles: Sequence[Profile]) -> list[str]:
    problems = []
    for what, values in (
        ("profile name", [profile.name for profile in profiles]),
        ("GPU instance profile id", [profile.gi_profile_id for profile in profiles]),
        ("GPU instance profile enum", [profile.gi_profile_enum for profile in profiles]),
    ):
        problems += [f"{family}: {what} {value} is there twice" for value in _repeated(values)]
    for profile in profiles:
        where = f"{family} {profile.name}"
        if not _PROFILE_NAME.fullmatch(profile.name) or int(profile.name.split("g.")[0]) != profile.slices:
            problems.append(f"{where}: the name does not fit {profile.slices} slices")
        if profile.size < 1 or not profile.starts or list(profile.starts) != sorted(set(profile.starts)):
            problems.append(f"{where}: size {profile.size} and starts {profile.starts} are no placements")
        problems += [
            f"{where}: units {start}-{start + profile.size - 1} are outside the grid of {grid_units}"
            for start in profile.starts
            if start < 0 or start + profile.size > grid_units
        ]
        if not 1 <= profile.max_instances <= len(profile.starts):
            problems.append(f"{where}: max_instances {profile.max_instances} with {len(profile.starts)} placements")
        if not 1 <= profile.multiprocessors <= multiprocessors or profile.memory_mib < 1:
            problems.append(f"{where}: {profile.multiprocessors} multiprocessors, {profile.memory_mib} MiB")
        if any(profile.engine(engine) < 0 for engine in ENGINES):
            problems.append(f"{where}: a negative engine count")
        whole = [ci for ci in profile.compute_instances if ci.slices == profile.slices]
        if [ci.ci_profile_id for ci in whole] != [profile.ci_profile_id]:
            problems.append(f"{where}: ci_profile_id is not that of its whole compute instance")
    return problems


def _repeated(values: Iterable[str | int]) -> list[str | int]:
    seen: set[str | int] = set()
    repeated = []
    for value in values:
        if value in seen:
            repeated.append(value)
        seen.add(value)
    return repeated
