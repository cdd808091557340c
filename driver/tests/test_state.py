"""Preparing and unpreparing: the decisions, over real effects and simulated GPUs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gpu_dra_driver.checkpoint import Phase
from gpu_dra_driver.claims import Claim, ClaimRef, OpaqueConfig
from gpu_dra_driver.state import STALE_AFTER_SECONDS, PrepareError
from tests import simulated_gpus
from tests.local_node import LocalNode, claim, names, ref
from tests.simulated_gpus import SimulatedGpus

ONE_G, OTHER_ONE_G, TWO_G, THREE_G = (
    "gpu-0-mig-1g5gb-19-0",
    "gpu-0-mig-1g5gb-19-1",
    "gpu-0-mig-2g10gb-14-2",
    "gpu-0-mig-3g20gb-9-4",
)


@pytest.fixture
def gpus(install_gpus: Callable[..., SimulatedGpus]) -> SimulatedGpus:
    return install_gpus(count=2)


@pytest.fixture
def node(folder: Path, gpus: SimulatedGpus) -> LocalNode:
    made = LocalNode(folder / "node", gpus, layout="all-balanced")
    made.apply_layout()
    return made


def test_prepare_twice_equals_once(node: LocalNode) -> None:
    wanted = claim(("r", ONE_G), ("s", TWO_G))
    assert node.prepare(wanted) == [ONE_G, TWO_G]
    once = (
        node.checkpoint.records(),
        node.spec_files.path(wanted.uid).read_text(),
        node.spec_files.path(wanted.uid).stat().st_ino,
    )
    assert node.prepare(wanted) == [ONE_G, TWO_G]
    assert once == (
        node.checkpoint.records(),
        node.spec_files.path(wanted.uid).read_text(),
        node.spec_files.path(wanted.uid).stat().st_ino,
    )


def test_unprepare_leaves_nothing_and_may_be_repeated(node: LocalNode) -> None:
    wanted = claim(("r", ONE_G))
    node.prepare(wanted)
    node.unprepare(wanted)
    node.unprepare(wanted)
    assert (node.prepared(), node.specs()) == ({}, set())


def test_unprepare_of_a_claim_nobody_knows_succeeds(node: LocalNode) -> None:
    node.unprepare(claim(("r", ONE_G)))


@pytest.mark.parametrize("uid", ["", "../checkpoint", "a/b", "x" * 129])
def test_a_uid_that_is_none_touches_no_file(node: LocalNode, uid: str) -> None:
    with pytest.raises(PrepareError, match="is not a claim UID"):
        node.state.unprepare(ClaimRef("default", "claim", uid))


def test_a_lost_spec_is_written_again(node: LocalNode) -> None:
    wanted = claim(("r", ONE_G))
    node.prepare(wanted)
    before = node.spec_files.path(wanted.uid).read_text()
    node.spec_files.remove(wanted.uid)
    node.prepare(wanted)
    assert node.spec_files.path(wanted.uid).read_text() == before


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (lambda wanted: replace(wanted, uid="other"), "got replaced"),
        (lambda wanted: replace(wanted, allocated=False, results=()), "not yet allocated"),
        (lambda wanted: claim(("r", "gpu-7"), uid=wanted.uid, name=wanted.name), 'allocatable not found for device "gpu-7"'),
        (lambda wanted: claim(("r", ONE_G), uid=wanted.uid, name=wanted.name, pool="node-b"), "in pool node-b; this driver serves pool node-a"),
    ],
)  # fmt: skip
def test_refused(node: LocalNode, broken: Callable[[Claim], Claim], complaint: str) -> None:
    wanted = claim(("r", ONE_G))
    node.claims.add(broken(wanted))
    with pytest.raises(PrepareError, match=complaint):
        node.state.prepare(ref(wanted))
    assert (node.prepared(), node.specs()) == ({}, set())


def test_a_claim_that_is_not_in_the_api_is_refused(node: LocalNode) -> None:
    with pytest.raises(PrepareError, match="there is no ResourceClaim"):
        node.state.prepare(ClaimRef("default", "nobody", "uid"))


def test_devices_of_other_drivers_are_none_of_our_business(node: LocalNode) -> None:
    wanted = claim(("r", ONE_G))
    foreign = replace(wanted.results[0], driver="nic.example.com", device="eth0")
    assert node.prepare(replace(wanted, results=(*wanted.results, foreign))) == [ONE_G]
    assert node.prepare(replace(claim(), results=(foreign,))) == []


def test_a_device_is_never_given_to_two_claims(node: LocalNode) -> None:
    first, second = claim(("r", ONE_G)), claim(("r", TWO_G), ("s", ONE_G))
    node.prepare(first)
    with pytest.raises(
        PrepareError, match=f"requested device {ONE_G} is already allocated to different claim {first.uid}"
    ):
        node.prepare(second)
    assert node.prepared() == {first.uid: {ONE_G}}
    node.unprepare(first)
    assert node.prepare(second) == [TWO_G, ONE_G]


def test_a_device_whose_holder_is_on_its_way_out_is_waited_for(node: LocalNode) -> None:
    """A pod deleted by force: the API has given its device to the next pod before kubelet unprepares the first."""
    first, second = claim(("r", ONE_G)), claim(("r", ONE_G))
    node.prepare(first)
    node.claims.remove(first)
    node.while_waiting = lambda: node.unprepare(first)

    assert node.prepare(second) == [ONE_G]
    assert node.prepared() == {second.uid: {ONE_G}}


def test_waiting_for_a_device_ends(node: LocalNode) -> None:
    first, second = claim(("r", ONE_G)), claim(("r", ONE_G))
    node.prepare(first)
    node.claims.deallocate(first)
    waited: list[None] = []
    node.while_waiting = lambda: waited.append(None)

    with pytest.raises(PrepareError, match="which is not unprepared yet"):
        node.prepare(second)
    assert len(waited) * 0.25 == 15
    assert node.prepared() == {first.uid: {ONE_G}}


def test_administrative_access_neither_takes_nor_is_taken(node: LocalNode) -> None:
    user, admin = claim(("r", ONE_G)), claim(("r", ONE_G), admin=True)
    node.prepare(user)
    assert node.prepare(admin) == [ONE_G]
    node.unprepare(admin)
    assert node.prepared() == {user.uid: {ONE_G}}
    assert node.specs() == {user.uid}


def test_shares_of_one_device_go_to_several_claims(node: LocalNode) -> None:
    first, second = (claim(("r", ONE_G), shares={ONE_G: share}) for share in ("a", "b"))
    node.prepare(first)
    node.claims.add(second)
    (device,) = node.state.prepare(ref(second))
    assert device.share_id == "b"
    with pytest.raises(PrepareError, match="already allocated"):
        node.prepare(claim(("r", ONE_G)))


def test_alternatives_keep_their_full_request_name(node: LocalNode) -> None:
    wanted = node.claims.add(claim(("main/sub", ONE_G)))
    assert [device.request for device in node.state.prepare(ref(wanted))] == ["main/sub"]


def test_a_claim_allocated_anew_gives_its_old_devices_back(node: LocalNode) -> None:
    wanted = claim(("r", ONE_G))
    node.prepare(wanted)
    assert node.prepare(claim(("r", TWO_G), uid=wanted.uid, name=wanted.name)) == [TWO_G]
    assert node.prepare(claim(("r", ONE_G))) == [ONE_G]


def test_sharing_is_refused_and_nothing_is_held(node: LocalNode) -> None:
    parameters = {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": "MigDeviceConfig",
        "sharing": {"strategy": "MPS"},
    }
    with pytest.raises(PrepareError, match="not supported yet"):
        node.prepare(claim(("r", ONE_G), configs=(OpaqueConfig((), "gpu.nvidia.com", parameters),)))
    assert (node.prepared(), node.specs()) == ({}, set())


def test_a_failed_effect_is_rolled_back(node: LocalNode, gpus: SimulatedGpus) -> None:
    (access,) = (gpus.root / "proc/driver/nvidia/capabilities/gpu0/mig").glob("gi7/ci0/access")  # the 1g at unit 0
    access.unlink()
    with pytest.raises(PrepareError, match="cannot read the MIG capability"):
        node.prepare(claim(("r", ONE_G)))
    assert (node.prepared(), node.specs()) == ({}, set())


def test_a_partition_that_was_remade_gets_a_new_spec(node: LocalNode, gpus: SimulatedGpus) -> None:
    """A GPU reset behind the driver's back: same name and place, another UUID."""
    wanted = claim(("r", ONE_G))
    node.prepare(wanted)
    (before,) = node.checkpoint.records()
    gpus.admin("reset", 0)
    with pytest.raises(PrepareError, match="allocatable not found"):
        node.prepare(wanted)
    other = LocalNode(node.checkpoint._path.parent / "elsewhere", gpus, layout="all-balanced")
    other.apply_layout()
    node.prepare(wanted)
    (after,) = node.checkpoint.records()
    assert (after.devices[0].name, after.phase) == (before.devices[0].name, Phase.COMPLETED)
    assert after.devices[0].uuid != before.devices[0].uuid


def test_a_lost_gpu_fails_its_own_claims_only(node: LocalNode, gpus: SimulatedGpus) -> None:
    gpus.admin("lose", 0)
    with pytest.raises(PrepareError):
        node.prepare(claim(("r", ONE_G)))
    assert node.prepare(claim(("r", "gpu-1-mig-1g5gb-19-0"))) == ["gpu-1-mig-1g5gb-19-0"]
    node.hardware.refresh()
    assert {name.split("-mig")[0] for name in names(node)} == {"gpu-1"}


def test_a_whole_gpu_and_its_partitions_exclude_each_other(
    folder: Path, install_gpus: Callable[..., SimulatedGpus]
) -> None:
    """They cannot be offered together, but the mode can change under a claim that is still prepared."""
    gpus = install_gpus("h100-80gb-hbm3", 1, mig=False)
    node = LocalNode(folder / "node", gpus)
    whole = claim(("r", "gpu-0"))
    node.prepare(whole)
    node.nvml.set_mig_mode(gpus_uuid(node), enabled=True)
    again = LocalNode(folder / "node", gpus, node.claims, layout="all-1g.10gb")
    again.hardware.apply_layout(set, set)
    with pytest.raises(PrepareError, match="already allocated to different claim"):
        again.prepare(claim(("r", names(again)[0])))


def gpus_uuid(node: LocalNode) -> str:
    return next(iter(node.hardware.inventory.devices.values())).gpu_uuid


def test_a_burst_of_claims_for_one_device_has_one_winner(node: LocalNode) -> None:
    rivals = [node.claims.add(claim(("r", ONE_G))) for _ in range(8)]
    won: list[str] = []
    start = threading.Barrier(len(rivals))

    def work(rival: Claim) -> None:
        start.wait()
        try:
            node.state.prepare(ref(rival))
            won.append(rival.uid)
        except PrepareError:
            pass

    threads = [threading.Thread(target=work, args=(rival,)) for rival in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert set(node.prepared()) == set(won) == node.specs()


class TestStaleClaims:
    def test_a_claim_gone_from_the_api_is_released_after_the_grace(self, node: LocalNode) -> None:
        wanted = claim(("r", ONE_G))
        node.prepare(wanted)
        node.claims.remove(wanted)
        node.state.sweep()
        node.now = STALE_AFTER_SECONDS - 1
        node.state.sweep()
        assert wanted.uid in node.prepared(), "its containers may still run"
        node.now = STALE_AFTER_SECONDS
        node.state.sweep()
        assert (node.prepared(), node.specs()) == ({}, set())

    def test_a_claim_of_the_same_name_is_another_claim(self, node: LocalNode) -> None:
        wanted = claim(("r", ONE_G))
        node.prepare(wanted)
        node.claims.add(claim(("r", ONE_G), name=wanted.name))
        node.state.sweep()
        node.now = STALE_AFTER_SECONDS
        node.state.sweep()
        assert node.prepared() == {}

    def test_a_claim_that_comes_back_gets_its_full_grace_again(self, node: LocalNode) -> None:
        wanted = claim(("r", ONE_G))
        node.prepare(wanted)
        node.claims.remove(wanted)
        node.state.sweep()
        node.claims.add(wanted)
        node.state.sweep()
        node.claims.remove(wanted)
        node.now = STALE_AFTER_SECONDS
        node.state.sweep()
        assert wanted.uid in node.prepared()

    def test_after_a_reboot_nothing_runs_so_there_is_no_grace(
        self, node: LocalNode, folder: Path, gpus: SimulatedGpus
    ) -> None:
        wanted = claim(("r", ONE_G))
        node.prepare(wanted)
        node.claims.remove(wanted)
        rebooted = LocalNode(folder / "node", gpus, node.claims, boot_id="boot-2")
        rebooted.state.sweep()
        assert rebooted.prepared() == {}


class TestRestart:
    def test_a_restart_keeps_claims(self, node: LocalNode, folder: Path, gpus: SimulatedGpus) -> None:
        wanted = claim(("r", ONE_G))
        node.prepare(wanted)
        again = LocalNode(folder / "node", gpus, node.claims)
        assert again.prepared() == {wanted.uid: {ONE_G}}
        inode = again.spec_files.path(wanted.uid).stat().st_ino
        assert again.prepare(wanted) == [ONE_G]
        assert again.spec_files.path(wanted.uid).stat().st_ino == inode

    def test_after_a_reboot_partitions_and_specs_are_made_anew_for_kept_claims(
        self, node: LocalNode, folder: Path, gpus: SimulatedGpus
    ) -> None:
        wanted = claim(("r", ONE_G))
        node.prepare(wanted)
        old = json.loads(node.spec_files.path(wanted.uid).read_text())
        gpus.admin("reboot")
        rebooted = LocalNode(folder / "node", gpus, node.claims, boot_id="boot-2", layout="all-balanced")
        assert rebooted.prepared() == {wanted.uid: {ONE_G}}, "the claim is kept"
        assert rebooted.state.held_gpus() == set(), "but holds no GPU back from its layout"
        rebooted.apply_layout()
        assert rebooted.prepare(wanted) == [ONE_G]
        (record,) = rebooted.checkpoint.records()
        assert record.boot_id == "boot-2"
        assert record.devices[0].uuid == rebooted.hardware.inventory.devices[ONE_G].uuid
        assert json.loads(rebooted.spec_files.path(wanted.uid).read_text()) == old, (
            "same place, so the same capability nodes"
        )

    def test_specs_of_unknown_claims_are_removed(self, node: LocalNode, folder: Path, gpus: SimulatedGpus) -> None:
        node.spec_files.write("orphan", {})
        foreign = node.spec_files.path("x").with_name("vendor.com-thing.yaml")
        foreign.write_text("{}")
        again = LocalNode(folder / "node", gpus, node.claims)
        assert again.specs() == set()
        assert foreign.exists()


class TestLostCheckpoint:
    @pytest.mark.parametrize("damage", ["truncate", "another driver's", "delete"])
    def test_running_claims_are_found_again(
        self, node: LocalNode, folder: Path, gpus: SimulatedGpus, damage: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        running, unknown, pending = claim(("r", ONE_G)), claim(("r", TWO_G)), claim(("r", THREE_G))
        node.prepare(running)
        node.prepare(unknown)
        node.claims.remove(unknown)
        node.claims.add(pending)  # allocated, but never prepared: it has no spec
        path = folder / "node/checkpoint.json"
        if damage == "truncate":
            path.write_text(path.read_text()[:-40])
        elif damage == "another driver's":
            path.write_text('{"checksum":1,"v1":{},"v2":{"preparedClaims":{}}}')
        else:
            path.unlink()
        again = LocalNode(folder / "node", gpus, node.claims)
        assert again.prepared() == {running.uid: {ONE_G}}
        assert again.specs() == {running.uid}
        assert again.state.held_gpus() == {gpus_uuid(again)}
        kept = list((folder / "node").glob("checkpoint.json.corrupt-*"))
        assert len(kept) == (0 if damage == "delete" else 1)
        assert ("checkpoint failed checksum verification" in caplog.text) == bool(kept)
        with pytest.raises(PrepareError, match="already allocated"):
            again.prepare(claim(("r", ONE_G)))
        assert again.prepare(running) == [ONE_G]


class Machine(RuleBasedStateMachine):
    """Any order of prepares, repeats, unprepares, lost specs and restarts: no device is held twice, and disk agrees with memory."""

    gpus: SimulatedGpus
    folder: Path
    round = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).round += 1
        self.node = self._start()
        self.pool: list[Claim] = []
        self.expected: dict[str, set[str]] = {}

    def _start(self, claims: object = None) -> LocalNode:
        return LocalNode(self.folder / f"node-{self.round}", self.gpus, claims)  # type: ignore[arg-type]

    @initialize()
    def some_claims(self) -> None:
        devices = names(self.node)
        assert len(devices) == 8
        self.pool = [self.node.claims.add(claim(("r", device))) for device in devices[:5]]
        self.pool += [
            self.node.claims.add(claim(("r", devices[0]), ("s", devices[1]))),
            self.node.claims.add(claim(("r", devices[4]), ("s", devices[7]))),
        ]

    @rule(index=st.integers(0, 6))
    def prepare(self, index: int) -> None:
        wanted = self.pool[index]
        devices = {result.device for result in wanted.results}
        taken = {name for uid, held in self.expected.items() if uid != wanted.uid for name in held}
        try:
            self.node.prepare(wanted)
            assert not devices & taken
            self.expected[wanted.uid] = devices
        except PrepareError:
            assert devices & taken

    @rule(index=st.integers(0, 6))
    def unprepare(self, index: int) -> None:
        self.node.unprepare(self.pool[index])
        self.expected.pop(self.pool[index].uid, None)

    @precondition(lambda self: bool(self.expected))
    @rule(index=st.integers(0, 6))
    def lose_spec_and_replay(self, index: int) -> None:
        assume(self.pool[index].uid in self.expected)
        self.node.spec_files.remove(self.pool[index].uid)
        self.node.prepare(self.pool[index])

    @rule()
    def restart(self) -> None:
        self.node = self._start(self.node.claims)

    @invariant()
    def nothing_is_held_twice_and_all_agree(self) -> None:
        assert self.node.prepared() == self.expected
        assert self.node.specs() == set(self.expected)
        held = [name for devices in self.expected.values() for name in devices]
        assert len(held) == len(set(held))


@pytest.fixture(scope="module")
def balanced_gpus(tmp_path_factory: pytest.TempPathFactory, _gpus_available: None) -> SimulatedGpus:
    folder = tmp_path_factory.mktemp("gpus")
    gpus = simulated_gpus.install(folder / "driver-root", count=2)
    LocalNode(folder / "setup", gpus, layout="all-balanced").apply_layout()
    return gpus


def test_no_sequence_of_events_gives_a_device_twice(balanced_gpus: SimulatedGpus, tmp_path: Path) -> None:
    Machine.gpus, Machine.folder = balanced_gpus, tmp_path
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
