"""How much later a pod runs when it claims a MIG slice: pairs of the same pod without and with a claim, in turn.

Needs a running sandbox with the sandbox stack on it. Time is from the create call to the moment a watch shows the
container started, as a client sees it; the API's own timestamps have whole seconds only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, cast

from lightkube import ApiError, Client
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.core_v1 import PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Pod

from tests.bench.samples import Summary, summarise

NAMESPACE = "bench-pods"
TIMEOUT_SECONDS = 60
Template = create_namespaced_resource("resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates")


class BenchError(Exception):
    """A pod did not start in time."""


@dataclass(frozen=True)
class Pairs:
    """Milliseconds to Running, one entry per pair and in the same order."""

    without: tuple[float, ...]
    with_claim: tuple[float, ...]

    def difference(self) -> Summary:
        return summarise(b - a for a, b in zip(self.without, self.with_claim, strict=True))


def _pod(name: str, image: str, *, claim: bool) -> Pod:
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "containers": [{"name": "main", "image": image, "command": ["sleep", "600"], "imagePullPolicy": "Never"}],
    }
    if claim:
        spec["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "slice"}]
        spec["containers"][0]["resources"] = {"claims": [{"name": "gpu"}]}
    return Pod(metadata=ObjectMeta(name=name, namespace=NAMESPACE), spec=cast("PodSpec", PodSpec.from_dict(spec)))


def _started(pod: Pod) -> bool:
    statuses = (pod.status.containerStatuses if pod.status else None) or []
    return any(status.state is not None and status.state.running is not None for status in statuses)


def _time_to_running(client: Client, pod: Pod) -> float:
    assert pod.metadata is not None
    name = str(pod.metadata.name)
    start = time.perf_counter()
    created = client.create(pod)
    assert created.metadata is not None
    events = client.watch(
        Pod,
        namespace=NAMESPACE,
        fields={"metadata.name": name},
        resource_version=created.metadata.resourceVersion,
        server_timeout=TIMEOUT_SECONDS,
    )
    for _, seen in events:
        if _started(seen):
            return (time.perf_counter() - start) * 1000
        if time.perf_counter() - start > TIMEOUT_SECONDS:
            break
    raise BenchError(
        f"pod {name} was not running after {TIMEOUT_SECONDS} s; `kubectl -n {NAMESPACE} describe pod {name}` tells why"
    )


def _remove(client: Client, name: str) -> None:
    # Not by force: kubelet releases the device before the pod is gone, so the next pod does not meet it still held.
    client.delete(Pod, name, namespace=NAMESPACE, grace_period=1)
    while True:
        try:
            client.get(Pod, name, namespace=NAMESPACE)
        except ApiError as error:
            if error.status.code == 404:
                return
            raise
        time.sleep(0.05)


def measure(client: Client, image: str, device_class: str, pairs: int) -> Pairs:
    """Run the pairs in a namespace of their own, which is removed afterwards. One uncounted pair goes first."""
    client.apply(Namespace(metadata=ObjectMeta(name=NAMESPACE)), field_manager="bench")
    requests = [{"name": "gpu", "exactly": {"deviceClassName": device_class}}]
    template = Template(
        apiVersion="resource.k8s.io/v1",
        kind="ResourceClaimTemplate",
        metadata=ObjectMeta(name="slice", namespace=NAMESPACE),
        spec={"spec": {"devices": {"requests": requests}}},
    )
    client.apply(template, field_manager="bench")
    without: list[float] = []
    with_claim: list[float] = []
    try:
        for number in range(-1, pairs):
            for claim, samples in ((False, without), (True, with_claim)):
                name = f"pod-{number + 1}-{'claim' if claim else 'plain'}"
                took = _time_to_running(client, _pod(name, image, claim=claim))
                _remove(client, name)
                if number >= 0:
                    samples.append(took)
    finally:
        client.delete(Namespace, NAMESPACE)
    return Pairs(tuple(without), tuple(with_claim))
