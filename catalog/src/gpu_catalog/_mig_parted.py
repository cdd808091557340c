"""Layout files in the format of NVIDIA's mig-parted, version v1, and the layouts that ship with it.

Owns reading (strict: an unknown key or a wrong type is refused, and all problems are told at once), writing, and
resolving a named layout to explicit placements per GPU. It differs from mig-parted on purpose where that would
silently do something else: two entries for one GPU, a GPU index that the node does not have, a repeated key.
A GPU that no entry selects is left alone, as there.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_catalog._placement import LayoutError, Placement, place
from gpu_catalog.boards import Board
from gpu_catalog.spelling import hint

_BUILTIN = Path(__file__).with_name("data") / "mig_parted.json"
_PCI_DEVICE_ID = re.compile(r"0[xX][0-9A-Fa-f]{8}")
_COMPUTE_PROFILE = re.compile(r"\d+c\.")
_FILE_KEYS = ("version", "mig-configs")
_FEW = 12
"""So many layouts are listed when an unknown one is named; of the 81 built-in ones only the nearest are."""
_ENTRY_KEYS = ("device-filter", "devices", "mig-enabled", "mig-devices")


@dataclass(frozen=True, slots=True)
class GpuSlot:
    """One GPU of a node, as a layout file selects it: by NVML index and by PCI device id (`0x20B010DE`)."""

    index: int
    board: Board
    pci_device_id: str


@dataclass(frozen=True, slots=True)
class GpuLayout:
    """What one GPU shall be. With `mig_enabled` and no placements, MIG mode is on and nothing is partitioned."""

    index: int
    mig_enabled: bool
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class MigPartedEntry:
    """One entry of a layout. An empty `device_filter` and `devices` None select every GPU."""

    device_filter: tuple[str, ...]
    devices: tuple[int, ...] | None
    mig_enabled: bool
    mig_devices: tuple[tuple[str, int], ...]

    def selects(self, gpu: GpuSlot) -> bool:
        wanted = {each.upper() for each in self.device_filter}
        return (not wanted or gpu.pci_device_id.upper() in wanted) and (
            self.devices is None or gpu.index in self.devices
        )


@dataclass(frozen=True, slots=True)
class MigPartedFile:
    """The named layouts of one file."""

    configs: Mapping[str, tuple[MigPartedEntry, ...]]

    def resolve(self, name: str, gpus: Sequence[GpuSlot]) -> tuple[GpuLayout, ...]:
        """What the layout `name` makes of these GPUs, by index. A GPU it does not speak of is not in the answer:
        leave it alone. Raises LayoutError with every problem of every GPU.
        """
        if name not in self.configs:
            known = f"; the layouts are {', '.join(self.configs)}" if len(self.configs) <= _FEW else ""
            raise LayoutError([f"unknown MIG layout {name!r}{hint(name, self.configs)}{known}"])
        entries = self.configs[name]
        problems = _Problems()
        present = [gpu.index for gpu in gpus]
        for number, entry in enumerate(entries):
            for absent in sorted(set(entry.devices or ()) - set(present)):
                problems.add(f"entry {number + 1} names GPU {absent}, this node has {_indices(present)}")
        layouts = []
        for gpu in gpus:
            selected = [number for number, entry in enumerate(entries) if entry.selects(gpu)]
            if len(selected) > 1:
                numbers = " and ".join(str(number + 1) for number in selected)
                problems.add(f"entries {numbers} both select it; give each GPU one entry", gpu.index)
            elif selected:
                try:
                    layouts.append(_layout(gpu, entries[selected[0]]))
                except LayoutError as error:
                    for problem in error.problems:
                        problems.add(problem, gpu.index)
        if problems.found:
            raise LayoutError([f"MIG layout {name}: {problem}" for problem in problems.texts()])
        return tuple(sorted(layouts, key=lambda layout: layout.index))

    def to_yaml(self) -> str:
        """The file as text; reading it back gives an equal file."""
        import yaml  # noqa: PLC0415 - resolving a packaged layout needs no YAML

        document = {
            "version": "v1",
            "mig-configs": {name: [_encode(e) for e in es] for name, es in self.configs.items()},
        }
        return yaml.safe_dump(document, sort_keys=False)


@functools.cache
def builtin_mig_parted() -> MigPartedFile:
    """The layouts that mig-parted v0.15.0 and gpu-operator v26.7.0 ship, by the same names."""
    return _decode_file(json.loads(_BUILTIN.read_text(encoding="utf-8")))


def parse_mig_parted(text: str) -> MigPartedFile:
    """The layouts of a mig-parted v1 file. Raises LayoutError with every problem and where it is."""
    import yaml  # noqa: PLC0415 - see to_yaml

    try:
        return _decode_file(yaml.load(text, Loader=_strict_loader()))  # noqa: S506 - a SafeLoader that refuses repeated keys
    except yaml.YAMLError as error:
        raise LayoutError([f"the MIG layout file is not valid YAML: {' '.join(str(error).split())}"]) from None


class _Problems:
    """Problems by text, with the GPUs that have them: eight equal GPUs are told once."""

    def __init__(self) -> None:
        self.found: dict[str, list[int]] = {}

    def add(self, text: str, gpu: int | None = None) -> None:
        self.found.setdefault(text, []).extend([] if gpu is None else [gpu])

    def texts(self) -> list[str]:
        return [f"{_indices(gpus)}: {text}" if gpus else text for text, gpus in self.found.items()]


def _indices(indices: Sequence[int]) -> str:
    """`GPU 3`, `GPUs 0-7`, `GPUs 0, 2`, `no GPU`."""
    ordered = sorted(indices)
    if not ordered:
        return "no GPU"
    if len(ordered) == 1:
        return f"GPU {ordered[0]}"
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"GPUs {ordered[0]}-{ordered[-1]}"
    return f"GPUs {', '.join(map(str, ordered))}"


def _layout(gpu: GpuSlot, entry: MigPartedEntry) -> GpuLayout:
    if not entry.mig_enabled:
        return GpuLayout(gpu.index, mig_enabled=False, placements=())
    if not gpu.board.mig_capable:
        raise LayoutError(
            [f"{gpu.board.short_name} has no MIG; leave it out with device-filter or set mig-enabled: false"]
        )
    return GpuLayout(gpu.index, mig_enabled=True, placements=place(gpu.board, dict(entry.mig_devices)))


def _encode(entry: MigPartedEntry) -> dict[str, Any]:
    document: dict[str, Any] = {"device-filter": list(entry.device_filter)} if entry.device_filter else {}
    document["devices"] = "all" if entry.devices is None else list(entry.devices)
    document["mig-enabled"] = entry.mig_enabled
    if entry.mig_enabled:
        document["mig-devices"] = dict(entry.mig_devices)
    return document


def _decode_file(document: Any) -> MigPartedFile:
    problems: list[str] = []
    configs: dict[str, tuple[MigPartedEntry, ...]] = {}
    if not _is_mapping(document, "the file", _FILE_KEYS, problems):
        raise LayoutError(problems)
    if document.get("version") != "v1":
        problems.append(f"version: is {document.get('version')!r}, must be v1")
    named = document.get("mig-configs")
    if not isinstance(named, dict):
        problems.append("mig-configs: must be a mapping of layout names to lists of entries")
        named = {}
    for name, entries in named.items():
        where = f"mig-configs.{name}"
        if not isinstance(entries, list) or not entries:
            problems.append(f"{where}: must be a list of entries")
            continue
        configs[str(name)] = tuple(
            _decode_entry(entry, f"{where}[{number}]", problems) for number, entry in enumerate(entries)
        )
    if problems:
        raise LayoutError(problems)
    return MigPartedFile(configs=configs)


_NO_ENTRY = MigPartedEntry((), (), mig_enabled=False, mig_devices=())


def _decode_entry(entry: Any, where: str, problems: list[str]) -> MigPartedEntry:
    if not _is_mapping(entry, where, _ENTRY_KEYS, problems):
        return _NO_ENTRY
    raw_filter = entry.get("device-filter", [])
    device_filter = [raw_filter] if isinstance(raw_filter, str) else raw_filter
    if not isinstance(device_filter, list) or not all(
        isinstance(each, str) and _PCI_DEVICE_ID.fullmatch(each) for each in device_filter
    ):
        problems.append(
            f'{where}.device-filter: {raw_filter!r} must be a quoted PCI id such as "0x20B010DE", or a list of them'
        )
    devices = entry.get("devices")
    if devices != "all" and not (isinstance(devices, list) and devices and all(map(_is_count, devices))):
        problems.append(f"{where}.devices: {devices!r} must be all or a list of GPU indices")
    enabled = entry.get("mig-enabled")
    if not isinstance(enabled, bool):
        problems.append(f"{where}.mig-enabled: {enabled!r} must be true or false")
    mig_devices = entry.get("mig-devices", {})
    if not isinstance(mig_devices, dict):
        problems.append(f"{where}.mig-devices: {mig_devices!r} must be a mapping of profiles to counts")
        mig_devices = {}
    for profile, count in mig_devices.items():
        if not isinstance(profile, str) or not _is_count(count):
            problems.append(f"{where}.mig-devices: {profile}: {count!r} must be a profile and a count")
        elif _COMPUTE_PROFILE.match(profile):
            problems.append(f"{where}.mig-devices: {profile} divides a GPU instance; only whole ones are offered")
    if enabled is False and mig_devices:
        problems.append(f"{where}: has mig-devices while mig-enabled is false")
    if problems:
        return _NO_ENTRY
    return MigPartedEntry(
        device_filter=tuple(device_filter),
        devices=None if devices == "all" else tuple(devices),
        mig_enabled=bool(enabled),
        mig_devices=tuple(mig_devices.items()),
    )


def _is_mapping(value: Any, where: str, keys: Sequence[str], problems: list[str]) -> bool:
    if not isinstance(value, dict):
        problems.append(f"{where}: must be a mapping with {', '.join(keys)}")
        return False
    problems += [
        f"{where}: unknown key {key!r}{hint(str(key), keys)}; the keys are {', '.join(keys)}"
        for key in value
        if key not in keys
    ]
    return True


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@functools.cache
def _strict_loader() -> Any:
    import yaml  # noqa: PLC0415 - see to_yaml

    class StrictLoader(yaml.SafeLoader):
        """YAML lets the last of two equal keys win; here one layout would silently replace another."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = key_node.value
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key!r} is there twice", key_node.start_mark
                    )
                seen.add(key)
            return super().construct_mapping(node, deep)

    return StrictLoader
