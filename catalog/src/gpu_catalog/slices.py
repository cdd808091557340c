"""Devices of one node as ResourceSlices (`resource.k8s.io/v1`), and whether the published ones still say the same.

Owns the splitting under the API server's limits and its order. It never talks to an API server: the driver writes the
slices and chooses the pool generation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gpu_catalog.devices import Device, device_order

ResourceSlice = dict[str, Any]

MAX_DEVICES = 128
MAX_DEVICES_WITH_TAINTS_OR_COUNTERS = 64
MAX_COUNTER_SETS = 8
"""Limits of one slice in Kubernetes 1.35 and later, which also wants counter sets in slices of their own."""


def build_slices(
    driver: str,
    node_name: str,
    node_uid: str,
    pool_generation: int,
    devices: Iterable[Device],
    *,
    counter_sets: Iterable[Mapping[str, Any]] = (),
) -> list[ResourceSlice]:
    """The slices of the pool `node_name`: counter sets first, then devices, each GPU's partitions in slices of their
    own, so that a change on one GPU changes few slices. Equal devices give equal slices, whatever their order; no
    devices give no slices.
    """
    contents = [
        *({"sharedCounters": chunk} for chunk in _chunks(sorted(counter_sets, key=_by_name), MAX_COUNTER_SETS)),
        *({"devices": chunk} for group in _groups(devices) for chunk in _chunks(group, _limit(group))),
    ]
    return [
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {
                # The index in front keeps the allocator's order: it goes through slices by name.
                "generateName": f"{index:x}-{driver}-{node_name}-",
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": node_uid, "controller": True}
                ],
            },
            "spec": {
                "driver": driver,
                "nodeName": node_name,
                "pool": {
                    "name": node_name,
                    "generation": pool_generation,
                    "resourceSliceCount": len(contents),
                },
                **content,
            },
        }
        for index, content in enumerate(contents)
    ]


def same_slices(published: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]]) -> bool:
    """Whether what the API server holds says the same as `wanted`, so that nothing need be written.

    Left out of the comparison is what the server sets (names, uids, versions, when a taint was added) and the pool
    generation, of which the published slices need one, the same for all: else a consumer sees an incomplete pool.
    """
    published = list(published)
    generations = {each["spec"]["pool"]["generation"] for each in published}
    return len(generations) <= 1 and _contents(published) == _contents(wanted)


def _by_name(named: Mapping[str, Any]) -> tuple[int, str]:
    return device_order(named["name"].removesuffix("-counter-set"))


def _groups(devices: Iterable[Device]) -> list[list[Device]]:
    """Devices without counters together, then those of each counter set, all in the order of their names."""
    groups: dict[str, list[Device]] = {"": []}
    for device in sorted(devices, key=_by_name):
        consumed = device.get("consumesCounters") or [{"counterSet": ""}]
        groups.setdefault(consumed[0]["counterSet"], []).append(device)
    return [group for group in groups.values() if group]


def _limit(devices: Sequence[Device]) -> int:
    heavy = any(device.get("taints") or device.get("consumesCounters") for device in devices)
    return MAX_DEVICES_WITH_TAINTS_OR_COUNTERS if heavy else MAX_DEVICES


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for first in range(0, len(items), size):
        yield list(items[first : first + size])


def _contents(slices: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(json.dumps(_content(each), sort_keys=True) for each in slices)


def _content(published: Mapping[str, Any]) -> Any:
    spec = dict(published["spec"])
    spec["pool"] = {key: value for key, value in spec["pool"].items() if key != "generation"}
    spec["devices"] = [_without_server_fields(device) for device in spec.get("devices") or ()]
    metadata = published["metadata"]
    return _without_empty(
        {
            "generateName": metadata.get("generateName"),
            "ownerReferences": metadata.get("ownerReferences"),
            "spec": spec,
        }
    )


def _without_server_fields(device: Mapping[str, Any]) -> dict[str, Any]:
    taints = [
        {key: value for key, value in taint.items() if key != "timeAdded"} for taint in device.get("taints") or ()
    ]
    return {**device, "taints": taints}


def _without_empty(value: Any) -> Any:
    """The server and typed clients leave out, or spell out, what is empty."""
    if isinstance(value, Mapping):
        cleaned = {key: _without_empty(each) for key, each in value.items()}
        return {key: each for key, each in cleaned.items() if each is not None and each not in ({}, [])}
    if isinstance(value, list):
        return [_without_empty(each) for each in value]
    return value
