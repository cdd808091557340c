"""Who holds which part of which GPU, read from what a cluster publishes: ResourceSlices, ResourceClaims and Pods.

Pure: dicts in the API's JSON form go in, a model of typed values comes out, nothing is drawn and no API is asked.
Devices are those of one DRA driver. Where a slice says less than the picture needs (the place of a MIG device that
another driver published), the catalogue and the device's name fill in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gpu_catalog.boards import Board, CatalogError, UnknownBoardError, load_catalog
from gpu_catalog.devices import GpuName, MigName, gpu_device_name, parse_device_name
from gpu_catalog.layouts import GpuLayout

NVIDIA_DRIVER = "gpu.nvidia.com"

Resource = Mapping[str, Any]
State = Literal["held", "free", "unused"]

_MEMORY_SLICE = re.compile(r"memory-?[Ss]lice-?(\d+)")


@dataclass(frozen=True, slots=True)
class Holder:
    """A claim that a device is allocated to, and the pods it is reserved for. `label` is the short name to draw: of
    the workload whose pod holds the device, or of the claim if no pod or several do.
    """

    namespace: str
    claim: str
    pods: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of grid units of one GPU. `device` is None where no device is: not partitioned, or still to be divided.
    `caption` says in words who holds it.
    """

    start: int
    size: int
    label: str
    caption: str
    state: State
    device: str | None = None
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; its segments cover the whole grid from left to right."""

    name: str
    product: str
    segments: tuple[Segment, ...]

    @property
    def units(self) -> int:
        return sum(segment.size for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    gpus: tuple[Gpu, ...]

    @property
    def devices(self) -> int:
        return sum(segment.device is not None for gpu in self.gpus for segment in gpu.segments)

    @property
    def held(self) -> int:
        return sum(segment.state == "held" for gpu in self.gpus for segment in gpu.segments)


@dataclass(frozen=True, slots=True)
class PodClaim:
    """One claim of one pod. No devices means that it is not allocated."""

    namespace: str
    pod: str
    phase: str
    node: str
    claim: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Occupancy:
    nodes: tuple[Node, ...]
    pods: tuple[PodClaim, ...]


def occupancy(
    slices: Iterable[Resource],
    claims: Iterable[Resource],
    pods: Iterable[Resource],
    *,
    driver: str = NVIDIA_DRIVER,
    namespace: str | None = None,
) -> Occupancy:
    """The picture of a cluster. `namespace` narrows the list of pods, never who holds what."""
    claims, pods = list(claims), list(pods)
    holders = _holders(claims, pods, driver)
    nodes = [
        Node(pool, _gpus(devices, {device: holders.get((pool, device), ()) for device in devices}))
        for pool, devices in sorted(_pools(slices, driver).items())
    ]
    return Occupancy(nodes=tuple(nodes), pods=_pod_claims(claims, pods, driver, namespace))


def planned(board: Board, layout: GpuLayout | None, name: str) -> Gpu:
    """The GPU `name` as a layout would make it; None is a GPU that the layout does not speak of."""
    if layout is None or not layout.mig_enabled:
        label, caption = ("left as it is", "") if layout is None else ("whole GPU", _gib(board.memory_mib))
        return Gpu(name, board.product_name, (Segment(0, board.grid_units or 1, label, caption, "free"),))
    segments = [
        Segment(
            start=placement.start,
            size=placement.profile.size,
            label=placement.profile.name,
            caption=_gib(placement.profile.memory_mib),
            state="free",
            device=placement.profile.name,
        )
        for placement in layout.placements
    ]
    return Gpu(name, board.product_name, _fill(segments, board.grid_units, divisible=False))


def _gib(mib: int) -> str:
    return f"{mib / 1024:.4g}Gi"


def _pools(slices: Iterable[Resource], driver: str) -> dict[str, dict[str, Resource]]:
    """The devices of each pool by name, of the pool's newest generation: older slices are leftovers."""
    newest: dict[str, int] = {}
    pools: dict[str, dict[str, Resource]] = {}
    for each in slices:
        spec = each["spec"]
        if spec["driver"] != driver:
            continue
        pool, generation = spec["pool"]["name"], spec["pool"].get("generation") or 0
        if generation > newest.get(pool, -1):
            newest[pool], pools[pool] = generation, {}
        if generation == newest[pool]:
            pools[pool] |= {device["name"]: device for device in spec.get("devices") or ()}
    return pools


def _results(claim: Resource, driver: str) -> list[Resource]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    results = (allocation.get("devices") or {}).get("results") or ()
    return [result for result in results if result["driver"] == driver]


def _holders(
    claims: Iterable[Resource], pods: Iterable[Resource], driver: str
) -> dict[tuple[str, str], tuple[Holder, ...]]:
    """By pool and device. Administrative access holds nothing: the device stays free for others."""
    workloads = {(pod["metadata"].get("namespace"), pod["metadata"]["name"]): _workload(pod) for pod in pods}
    holders: dict[tuple[str, str], tuple[Holder, ...]] = {}
    for claim in claims:
        metadata = claim["metadata"]
        reserved = (claim.get("status") or {}).get("reservedFor") or ()
        names = tuple(each["name"] for each in reserved if each.get("resource") == "pods")
        label = metadata["name"]
        if len(names) == 1:
            label = workloads.get((metadata.get("namespace"), names[0]), names[0])
        holder = Holder(metadata.get("namespace") or "", metadata["name"], names, label)
        for result in _results(claim, driver):
            key = (result["pool"], result["device"])
            if not result.get("adminAccess") and holder not in holders.get(key, ()):
                holders[key] = (*holders.get(key, ()), holder)
    return holders


def _workload(pod: Resource) -> str:
    """The name a pod was made from: `train` of `train-6c5d8-x7k2p`."""
    metadata = pod["metadata"]
    name: str = (metadata.get("generateName") or metadata["name"]).rstrip("-")
    template_hash = (metadata.get("labels") or {}).get("pod-template-hash")
    return name.removesuffix(f"-{template_hash}") if template_hash else name


def _gpus(devices: Mapping[str, Resource], holders: Mapping[str, tuple[Holder, ...]]) -> tuple[Gpu, ...]:
    by_minor: dict[int, list[Resource]] = {}
    for name, device in devices.items():
        parsed = parse_device_name(name)
        if parsed:
            by_minor.setdefault(parsed.minor, []).append(device)
    return tuple(_gpu(minor, each, holders) for minor, each in sorted(by_minor.items()))


def _gpu(minor: int, devices: Sequence[Resource], holders: Mapping[str, tuple[Holder, ...]]) -> Gpu:
    product = _attribute(devices[0], "productName") or "GPU"
    try:
        board: Board | None = load_catalog().board(product)
    except UnknownBoardError:
        board = None
    divisible = any(device.get("consumesCounters") for device in devices)
    migs = [device for device in devices if isinstance(parse_device_name(device["name"]), MigName)]
    whole = [device for device in devices if isinstance(parse_device_name(device["name"]), GpuName)]
    units = {device["name"]: _units(device, board) for device in migs}
    grid = max([board.grid_units if board else 0, 1, *(each.stop for each in units.values())])
    segments = []
    for device in whole:
        held = holders.get(device["name"], ())
        if held or not migs:
            segments.append(_segment(device, range(grid), "whole GPU", held))
    for device in migs:
        held = holders.get(device["name"], ())
        if held or not divisible:
            segments.append(_segment(device, units[device["name"]], _attribute(device, "profile") or "MIG", held))
    return Gpu(gpu_device_name(minor), product, _fill(segments, grid, divisible=divisible))


def _segment(device: Resource, units: range, label: str, holders: tuple[Holder, ...]) -> Segment:
    caption = "free"
    if holders:
        caption = holders[0].label + (f" +{len(holders) - 1}" if len(holders) > 1 else "")
    state: State = "held" if holders else "free"
    return Segment(units.start, len(units), label, caption, state, device["name"], holders)


def _fill(segments: Iterable[Segment], grid: int, *, divisible: bool) -> tuple[Segment, ...]:
    """The segments in order, with what lies between them. Devices that overlap are drawn one after the other."""
    filled: list[Segment] = []
    at = 0
    gap: tuple[str, str, State] = ("free", "", "free") if divisible else ("", "", "unused")
    for segment in sorted(segments, key=lambda each: (each.start, each.size)):
        if segment.start > at:
            filled.append(Segment(at, segment.start - at, *gap))
        filled.append(segment)
        at = max(at, segment.start + segment.size)
    if at < grid:
        filled.append(Segment(at, grid - at, *gap))
    return tuple(filled)


def _units(device: Resource, board: Board | None) -> range:
    """The grid units of a MIG device: as its capacity or counters say, else by its name and the catalogue."""
    counted = [
        *(device.get("capacity") or {}),
        *(key for each in device.get("consumesCounters") or () for key in each.get("counters") or {}),
    ]
    numbers = sorted({int(match[1]) for key in counted if (match := _MEMORY_SLICE.fullmatch(key))})
    if numbers:
        return range(numbers[0], numbers[-1] + 1)
    name = parse_device_name(device["name"])
    assert isinstance(name, MigName)
    try:
        size = board.profile(_attribute(device, "profile") or "").size if board else 1
    except CatalogError:
        size = 1
    return range(name.start, name.start + size)


def _attribute(device: Resource, key: str) -> str | None:
    value: str | None = ((device.get("attributes") or {}).get(key) or {}).get("string")
    return value


def _pod_claims(
    claims: Sequence[Resource], pods: Iterable[Resource], driver: str, namespace: str | None
) -> tuple[PodClaim, ...]:
    by_name = {(claim["metadata"].get("namespace"), claim["metadata"]["name"]): claim for claim in claims}
    rows = []
    for pod in pods:
        metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
        if namespace is not None and metadata.get("namespace") != namespace:
            continue
        for claim_name in _claim_names(spec, status):
            claim = by_name.get((metadata.get("namespace"), claim_name), {})
            results = _results(claim, driver)
            if claim and _allocated(claim) and not results:
                continue  # devices of another driver alone
            rows.append(
                PodClaim(
                    namespace=metadata.get("namespace") or "",
                    pod=metadata["name"],
                    phase="Terminating" if metadata.get("deletionTimestamp") else status.get("phase") or "Unknown",
                    node=spec.get("nodeName") or "",
                    claim=claim_name,
                    devices=tuple(result["device"] for result in results),
                )
            )
    return tuple(sorted(rows, key=lambda row: (row.namespace, row.pod, row.claim)))


def _allocated(claim: Resource) -> bool:
    return bool((claim.get("status") or {}).get("allocation"))


def _claim_names(spec: Resource, status: Resource) -> list[str]:
    """The claims of a pod: named by it, made for it from a template, or made for an extended resource it asks for.
    A template whose claim is not made yet goes by the template's name.
    """
    made = {each["name"]: each.get("resourceClaimName") for each in status.get("resourceClaimStatuses") or ()}
    names = [
        each.get("resourceClaimName") or made.get(each["name"]) or each.get("resourceClaimTemplateName")
        for each in spec.get("resourceClaims") or ()
    ]
    extended = (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName")
    return [name for name in [*names, extended] if name]
