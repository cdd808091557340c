"""Nodes for the tests of this folder: GPUs of a catalogue board, described as a driver would describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gpu_catalog.boards import Board, load_catalog
from gpu_catalog.devices import MIB, Device, GpuFacts, MigFacts, describe_gpu, describe_mig, possible_partitions
from gpu_catalog.layouts import place

A100 = load_catalog().board("a100-sxm4-40gb")
H100 = load_catalog().board("h100-80gb-hbm3")
A30 = load_catalog().board("a30")
RTX_PRO_6000 = load_catalog().board("rtx-pro-6000-blackwell-server-edition")
T4 = load_catalog().board("t4")


def gpu(minor: int, board: Board = A100, **changes: Any) -> GpuFacts:
    facts = GpuFacts(
        minor=minor,
        uuid=f"GPU-00000000-0000-0000-0000-{minor:012d}",
        product_name=board.product_name,
        brand=board.brand,
        architecture=board.architecture,
        cuda_compute_capability=board.compute_capability,
        driver_version="580.126.20",
        cuda_driver_version="13.0",
        pci_bus_id=f"0000:{minor:02x}:00.0",
        pcie_root=f"pci0000:{minor:02x}",
        numa_node=0,
        addressing_mode="HMM",
        memory_bytes=board.memory_mib * MIB,
    )
    return replace(facts, **changes)


def partitions(minor: int, board: Board, counts: Mapping[str, int]) -> list[MigFacts]:
    """The MIG devices of a GPU that is partitioned so."""
    possible = {(each.profile, each.start): each for each in possible_partitions(gpu(minor, board), board)}
    return [
        replace(possible[placement.profile.name, placement.start], uuid=f"MIG-{minor}-{placement.start}")
        for placement in place(board, counts)
    ]


def partitioned(minor: int, board: Board = A100, **counts: int) -> list[Device]:
    """Described MIG devices; the default is all-balanced of the A100."""
    wanted = counts or {"1g.5gb": 2, "2g.10gb": 1, "3g.20gb": 1}
    return [describe_mig(facts) for facts in partitions(minor, board, wanted)]


def whole(minor: int, board: Board = A100) -> Device:
    return describe_gpu(gpu(minor, board))


def claim(name: str, *devices: str, pods: tuple[str, ...] = (), pool: str = "node-a", **result: Any) -> dict[str, Any]:
    """A ResourceClaim of namespace `default` with these devices allocated, reserved for these pods."""
    results = [
        {"request": "gpu", "driver": "gpu.nvidia.com", "pool": pool, "device": device, **result} for device in devices
    ]
    status: dict[str, Any] = {"allocation": {"devices": {"results": results}}} if devices else {}
    if pods:
        status["reservedFor"] = [{"resource": "pods", "name": pod, "uid": f"uid-{pod}"} for pod in pods]
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {}, "status": status}


def pod(name: str, claim_name: str, *, phase: str = "Running", node: str = "node-a", **metadata: Any) -> dict[str, Any]:
    """A Pod of namespace `default` whose claim was made from a template."""
    return {
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {
            "containers": [{"name": "work", "image": "work"}],
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-slice"}],
            **({"nodeName": node} if node else {}),
        },
        "status": {"phase": phase, "resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": claim_name}]},
    }
