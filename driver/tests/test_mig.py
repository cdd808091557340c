"""Static MIG: what is changed to bring a layout about, and what is left alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_dra_driver import mig
from gpu_dra_driver.discovery import find_library
from gpu_dra_driver.gpus import ComputeInstance, Gpu, GpuInstance, InstanceProfile, MigMode
from gpu_dra_driver.hardware import APPLIED, FAILED, HELD, PENDING
from gpu_dra_driver.layout import LayoutRefusedError, resolve
from gpu_dra_driver.mig import MigNotSupportedError, ModePendingError, WantedInstance, WantedLayout
from gpu_dra_driver.nvml import Nvml, NvmlError
from tests import simulated_gpus
from tests.local_node import LocalNode, claim, names
from tests.simulated_gpus import SimulatedGpus

ONE = InstanceProfile(19, 0, "1g.5gb", 1, 4864, 14, 1, 0, 0, 0, 0)
THREE = InstanceProfile(9, 2, "3g.20gb", 3, 19968, 42, 3, 2, 0, 0, 0)


ON, OFF = MigMode(current=True, pending=True), MigMode(current=False, pending=False)


def gpu(*instances: GpuInstance, mode: MigMode | None = ON) -> Gpu:
    return Gpu(
        0,
        0,
        "GPU-0",
        "NVIDIA A100-SXM4-40GB",
        "Nvidia",
        "Ampere",
        "8.0",
        "0000:65:00.0",
        "0x20B010DE",
        40 << 30,
        "HMM",
        mode,
        instances,
    )


def instance(profile: InstanceProfile, start: int, gi_id: int, *compute_slices: int) -> GpuInstance:
    computes = tuple(
        ComputeInstance(index, slices, f"MIG-{gi_id}-{index}") for index, slices in enumerate(compute_slices)
    )
    return GpuInstance(gi_id, profile, start, 1 if profile is ONE else 4, computes)


def wanted(*places: tuple[InstanceProfile, int], enabled: bool = True, at_once: bool = False) -> WantedLayout:
    return WantedLayout(
        enabled,
        at_once,
        tuple(WantedInstance(start, 1 if p is ONE else 4, p.id, p.slices, p.name) for p, start in places),
    )


@pytest.mark.parametrize(
    ("exists", "layout", "destroyed", "completed", "created"),
    [
        pytest.param([], [(ONE, 0), (THREE, 4)], [], [], [0, 4], id="nothing there: all is created"),
        pytest.param([instance(ONE, 0, 7, 1)], [(ONE, 0)], [], [], [], id="as wanted: nothing is done"),
        pytest.param([instance(ONE, 0, 7, 1)], [(ONE, 1)], [7], [], [1], id="the right profile at another place is not the same"),
        pytest.param([instance(ONE, 4, 11, 1)], [(THREE, 4)], [11], [], [4], id="another profile at the right place is not the same"),
        pytest.param([instance(ONE, 0, 7)], [(ONE, 0)], [], [7], [], id="without its compute instance: completed, not remade"),
        pytest.param([instance(THREE, 4, 2, 1, 2)], [(THREE, 4)], [2], [], [4], id="divided further: remade"),
        pytest.param([instance(ONE, 0, 7, 1), instance(THREE, 4, 2, 3)], [(THREE, 4)], [7], [], [], id="more than wanted: the rest goes"),
        pytest.param([instance(ONE, 0, 7, 1)], [], [7], [], [], id="wanted empty"),
    ],
)  # fmt: skip
def test_plan(
    exists: list[GpuInstance],
    layout: list[tuple[InstanceProfile, int]],
    destroyed: list[int],
    completed: list[int],
    created: list[int],
) -> None:
    changes = mig.plan(gpu(*exists), wanted(*layout))
    assert [each.id for each in changes.destroy] == destroyed
    assert [each.id for each in changes.complete] == completed
    assert [each.start for each in changes.create] == created
    assert changes.nothing_to_do == (not (destroyed or completed or created))
    assert changes.destructive == bool(destroyed)


def test_a_mode_that_needs_a_reset_is_never_switched() -> None:
    with pytest.raises(ModePendingError, match=r"nvidia-smi -i 0 -mig 1, then reboot"):
        mig.plan(gpu(mode=OFF), wanted((ONE, 0)))
    with pytest.raises(ModePendingError, match="it is already pending, then reboot"):
        mig.plan(gpu(mode=MigMode(current=False, pending=True)), wanted((ONE, 0)))
    with pytest.raises(ModePendingError, match="MIG mode off"):
        mig.plan(gpu(), wanted(enabled=False))


def test_a_mode_that_needs_no_reset_is_switched() -> None:
    changes = mig.plan(gpu(mode=OFF), wanted((ONE, 0), at_once=True))
    assert (changes.set_mode, [each.start for each in changes.create]) == (True, [0])
    changes = mig.plan(gpu(instance(ONE, 0, 7, 1)), wanted(enabled=False, at_once=True))
    assert (changes.set_mode, [each.id for each in changes.destroy]) == (False, [7])
    assert changes.destructive


def test_a_gpu_without_mig() -> None:
    assert mig.plan(gpu(mode=None), wanted(enabled=False)).nothing_to_do
    with pytest.raises(MigNotSupportedError):
        mig.plan(gpu(mode=None), wanted((ONE, 0)))


class TestOnSimulatedGpus:
    def test_a_compute_instance_that_cannot_be_had_takes_its_gpu_instance_back(
        self, install_gpus: Callable[..., SimulatedGpus]
    ) -> None:
        gpus = install_gpus()
        nvml = Nvml(find_library(gpus.root))
        (found,) = nvml.gpus()
        assert isinstance(found, Gpu)
        impossible = WantedInstance(0, 1, 19, 5, "1g.5gb")  # there is no compute instance of five slices
        with pytest.raises(NvmlError, match="no compute instance profile of 5 slices"):
            mig.create(nvml, found.uuid, impossible)
        assert gpus.partitions(0) == []

    @pytest.mark.parametrize("board", ["a100-sxm4-40gb", "a100-sxm4-80gb", "h100-80gb-hbm3", "h200", "b200"])
    def test_a_declared_layout_becomes_devices(
        self, folder: Path, install_gpus: Callable[..., SimulatedGpus], board: str
    ) -> None:
        gpus = install_gpus(board, 1)
        node = LocalNode(folder / "node", gpus, layout="all-balanced")
        assert node.apply_layout()
        assert [each.split("@")[1] for each in gpus.partitions(0)] == ["0", "1", "2", "4"]
        assert len(names(node)) == 4
        assert node.hardware.outcomes[node.hardware.inventory.devices[names(node)[0]].gpu_uuid].state == APPLIED
        assert not node.apply_layout(), "a second time there is nothing to do"

    def test_gpus_held_by_claims_are_left_alone_until_released(
        self, folder: Path, install_gpus: Callable[..., SimulatedGpus]
    ) -> None:
        gpus = install_gpus(count=2)
        before = LocalNode(folder / "node", gpus, layout="all-1g.5gb")
        before.apply_layout()
        holder = claim(("r", "gpu-0-mig-1g5gb-19-3"))
        before.prepare(holder)
        uuids = [each["compute_instances"][0]["uuid"] for each in gpus.gpus()[0]["gpu_instances"]]

        node = LocalNode(folder / "node", gpus, before.claims, layout="all-balanced")
        assert node.apply_layout()
        assert [each["compute_instances"][0]["uuid"] for each in gpus.gpus()[0]["gpu_instances"]] == uuids
        assert gpus.partitions(1) == ["1g.5gb@0", "1g.5gb@1", "2g.10gb@2", "3g.20gb@4"]
        assert sorted(outcome.state for outcome in node.hardware.outcomes.values()) == [APPLIED, HELD]
        assert node.hardware.unfinished

        node.unprepare(holder)
        assert not node.apply_layout(), "the API still has it allocated there"
        assert node.hardware.waits_for_the_api
        node.claims.deallocate(holder)
        assert node.apply_layout()
        assert gpus.partitions(0) == ["1g.5gb@0", "1g.5gb@1", "2g.10gb@2", "3g.20gb@4"]
        assert not node.hardware.unfinished

    def test_one_failing_gpu_does_not_stop_the_others(
        self, folder: Path, install_gpus: Callable[..., SimulatedGpus]
    ) -> None:
        gpus = install_gpus(count=3)
        first = LocalNode(folder / "node", gpus, layout="all-1g.5gb")
        first.apply_layout()
        busy = next(each for each in gpus.gpus()[1]["gpu_instances"] if each["start"] == 4)
        gpus.admin(
            "hold", 1, os.getpid(), busy["id"], busy["compute_instances"][0]["id"]
        )  # a process outside Kubernetes uses it
        gpus.admin("lose", 2)
        node = LocalNode(folder / "node", gpus, layout="all-balanced")
        node.apply_layout()
        assert gpus.partitions(0) == ["1g.5gb@0", "1g.5gb@1", "2g.10gb@2", "3g.20gb@4"]
        outcomes = [outcome for outcome in node.hardware.outcomes.values() if outcome.state != APPLIED]
        assert [outcome.state for outcome in outcomes] == [FAILED]
        assert "In use" in outcomes[0].message
        assert "GPU 2" in node.hardware.inventory.problems
        assert f"{busy['profile']}@{busy['start']}" in gpus.partitions(1)

        gpus.admin("hold", 1, 0, busy["id"], busy["compute_instances"][0]["id"])
        assert node.apply_layout()
        assert gpus.partitions(1) == ["1g.5gb@0", "1g.5gb@1", "2g.10gb@2", "3g.20gb@4"]

    def test_ampere_waits_for_its_reset_and_is_published_as_it_is(
        self, folder: Path, install_gpus: Callable[..., SimulatedGpus]
    ) -> None:
        gpus = install_gpus(count=1, mig=False)
        node = LocalNode(folder / "node", gpus, layout="all-balanced")
        assert not node.apply_layout()
        assert [outcome.state for outcome in node.hardware.outcomes.values()] == [PENDING]
        assert names(node) == ["gpu-0"]
        assert not gpus.gpus()[0]["mig_pending"]

    def test_hopper_is_switched_at_once(self, folder: Path, install_gpus: Callable[..., SimulatedGpus]) -> None:
        gpus = install_gpus("h100-80gb-hbm3", 1, mig=False)
        node = LocalNode(folder / "node", gpus, layout="all-balanced")
        assert names(node) == ["gpu-0"]
        assert node.apply_layout()
        assert len(names(node)) == 4
        off = LocalNode(folder / "node", gpus, layout="all-disabled")
        assert off.apply_layout()
        assert names(off) == ["gpu-0"]

    def test_without_a_layout_partitions_are_taken_as_found(
        self, folder: Path, install_gpus: Callable[..., SimulatedGpus]
    ) -> None:
        gpus = install_gpus()
        LocalNode(folder / "admin", gpus, layout="all-3g.20gb").apply_layout()
        node = LocalNode(folder / "node", gpus)
        assert not node.apply_layout()
        assert names(node) == ["gpu-0-mig-3g20gb-9-0", "gpu-0-mig-3g20gb-9-4"]

    def test_a_gpu_in_mig_mode_without_partitions_offers_nothing(
        self, folder: Path, install_gpus: Callable[..., SimulatedGpus]
    ) -> None:
        node = LocalNode(folder / "node", install_gpus())
        assert names(node) == []
        assert "MIG mode is on but there are no MIG devices" in node.hardware.inventory.problems["GPU 0"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("all-balancd", None, "all-balanced"),
        (
            "mine",
            "version: v1\nmig-configs:\n  mine:\n  - devices: all\n    mig-enabled: true\n    mig-devices: {4g.20gb: 2}\n",
            "4g.20gb",
        ),
        (
            "mine",
            "version: v1\nmig-configs:\n  mine:\n  - devices: all\n    mig-enabled: true\n    mig-devices: {1g.6gb: 1}\n",
            "1g.5gb",
        ),
        ("mine", "not: [yaml", ""),
    ],
)
def test_a_layout_that_cannot_be_had_is_refused_with_the_reason(
    tmp_path: Path, install_gpus: Callable[..., SimulatedGpus], name: str, content: str | None, complaint: str
) -> None:
    file = None
    if content is not None:
        file = tmp_path / "config.yaml"
        file.write_text(content)
    nvml = Nvml(find_library(install_gpus().root))
    with pytest.raises(LayoutRefusedError) as caught:
        resolve(name, file, nvml.gpus())
    assert f"MIG_CONFIG={name!r}" in str(caught.value)
    assert complaint in str(caught.value)


@pytest.fixture(scope="module")
def one_gpu(tmp_path_factory: pytest.TempPathFactory, _gpus_available: None) -> SimulatedGpus:
    return simulated_gpus.install(tmp_path_factory.mktemp("gpus") / "driver-root", count=1)


LAYOUTS = ["all-1g.5gb", "all-2g.10gb", "all-3g.20gb", "all-7g.40gb", "all-balanced", "all-enabled", "all-1g.5gb.me"]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(layouts=st.lists(st.sampled_from(LAYOUTS), min_size=1, max_size=5))
def test_any_layout_follows_any_other(
    one_gpu: SimulatedGpus, tmp_path_factory: pytest.TempPathFactory, layouts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("node")
    for layout in layouts:
        node = LocalNode(folder, one_gpu, layout=layout)
        node.apply_layout()
        assert not node.hardware.unfinished, node.hardware.outcomes
        alone = LocalNode(folder, one_gpu, layout=layout)
        assert not alone.apply_layout()
