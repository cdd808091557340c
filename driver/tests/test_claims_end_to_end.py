"""Claims through kubelet's protocol and a real API server: several at once, errors, administrative access, configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Node, eventually

ONE_G, OTHER_ONE_G, TWO_G, THREE_G = (
    "gpu-0-mig-1g5gb-19-0",
    "gpu-0-mig-1g5gb-19-1",
    "gpu-0-mig-2g10gb-14-2",
    "gpu-0-mig-3g20gb-9-4",
)


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    made = make_node(count=2)
    made.start_driver(MIG_CONFIG="all-balanced")
    return made


def opaque(kind: str, *requests: str, **parameters: Any) -> dict[str, Any]:
    document = {"apiVersion": "resource.nvidia.com/v1beta1", "kind": kind, **parameters}
    return {"requests": list(requests), "opaque": {"driver": "gpu.nvidia.com", "parameters": document}}


def test_one_call_with_many_claims_answers_each(node: Node) -> None:
    good = [node.cluster.claim({"r": name}) for name in (ONE_G, OTHER_ONE_G, TWO_G, THREE_G)]
    absent = node.cluster.claim({"r": "gpu-7"})
    pending = node.cluster.claim({"r": ONE_G}, allocated=False)
    answers = node.kubelet.prepare(*good, absent, pending)
    assert set(answers) == {claim["metadata"]["uid"] for claim in (*good, absent, pending)}
    assert [answers[claim["metadata"]["uid"]].devices[0].device_name for claim in good] == [
        ONE_G,
        OTHER_ONE_G,
        TWO_G,
        THREE_G,
    ]
    metadata = absent["metadata"]
    named = f"{metadata['namespace']}/{metadata['name']}:{metadata['uid']}"
    error = answers[metadata["uid"]].error
    assert error.startswith(
        f'error preparing devices for claim {named}: prepare devices failed: allocatable not found for device "gpu-7"'
    )
    assert "claim not yet allocated" in answers[pending["metadata"]["uid"]].error
    assert not any(answer.error for answer in node.kubelet.unprepare(*good, absent, pending).values())
    assert list(node.cdi.iterdir()) == []


def test_a_claim_replaced_by_another_of_its_name(node: Node) -> None:
    claim = node.cluster.claim({"r": ONE_G})
    stale = {"metadata": {**claim["metadata"], "uid": "00000000-0000-0000-0000-000000000000"}}
    assert "got replaced" in node.kubelet.prepare_error(stale)


def test_a_claim_that_is_gone_can_be_unprepared(node: Node) -> None:
    claim = node.cluster.claim({"r": ONE_G})
    node.kubelet.prepare_one(claim)
    node.cluster.deallocate(claim)
    node.cluster.delete_claim(claim)
    assert "there is no ResourceClaim" in node.kubelet.prepare_error(claim)
    node.kubelet.unprepare_one(claim)
    assert not node.spec(claim).exists()
    node.kubelet.prepare_one(node.cluster.claim({"r": ONE_G}))


def test_prioritised_alternatives(node: Node) -> None:
    claim = node.cluster.claim({"main/small": ONE_G})
    assert list(node.kubelet.prepare_one(claim).devices[0].request_names) == ["main/small"]


def test_administrative_access(node: Node) -> None:
    node.cluster.allow_admin_access()
    node.kubelet.prepare_one(node.cluster.claim({"r": ONE_G}))
    monitor = node.cluster.claim({"r": ONE_G}, admin=True)
    assert node.kubelet.prepare_one(monitor).devices[0].device_name == ONE_G
    node.kubelet.unprepare_one(monitor)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (opaque("MigDeviceConfig"), ""),
        (opaque("GpuConfig", sharing={"strategy": "TimeSlicing"}), ""),  # for all requests, and this is no whole GPU
        (opaque("MigDeviceConfig", "r", sharing={"strategy": "MPS"}), "not supported yet"),
        (opaque("MigDeviceConfig", unexpectedField=True), 'strict decoding error: unknown field "unexpectedField"'),
        (opaque("GpuConfig", "r"), "cannot apply GpuConfig"),
    ],
)
def test_configuration_is_applied_or_refused_never_ignored(node: Node, config: dict[str, Any], complaint: str) -> None:
    error = node.kubelet.prepare_error(node.cluster.claim({"r": ONE_G}, configs=[config]))
    assert (complaint in error) if complaint else error == ""


def test_another_layout_comes_when_the_last_claim_goes(make_node: Callable[..., Node]) -> None:
    node = make_node(count=1)
    first = node.start_driver(MIG_CONFIG="all-1g.5gb")
    claims = [node.cluster.claim({"r": f"gpu-0-mig-1g5gb-19-{start}"}) for start in (2, 5)]
    for claim in claims:
        node.kubelet.prepare_one(claim)
    first.stop()
    second = node.start_driver(MIG_CONFIG="all-balanced")
    second.wait_for("MIG layout held: a prepared claim holds this GPU")
    assert len(node.cluster.device_names()) == 7
    for claim in claims:
        node.cluster.deallocate(claim)
        node.kubelet.unprepare_one(claim)
    assert eventually(lambda: sorted(node.cluster.device_names()) == [ONE_G, OTHER_ONE_G, TWO_G, THREE_G])
    assert {each["spec"]["pool"]["generation"] for each in node.cluster.slices()} == {2}
