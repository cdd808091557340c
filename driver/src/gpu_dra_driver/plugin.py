"""The face that kubelet sees: the DRA service in both its versions, on a unix socket.

Owns the translation between protocol messages and claims, one log line per claim, and the metrics. Every decision is
`state`'s. One claim's failure is that claim's error, never the call's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gpu_dra_driver._proto import dra_v1_pb2, dra_v1beta1_pb2
from gpu_dra_driver.cdi import device_id
from gpu_dra_driver.checkpoint import PreparedDevice
from gpu_dra_driver.claims import ClaimRef
from gpu_dra_driver.grpc_services import service
from gpu_dra_driver.kube import KubeError
from gpu_dra_driver.metrics import Metrics
from gpu_dra_driver.state import NodeState, PrepareError

log = logging.getLogger(__name__)

VERSIONS = ("v1.DRAPlugin", "v1beta1.DRAPlugin")
"""Advertised at registration, in order of preference: kubelet takes the first that it knows."""


def service_name(version: str) -> str:
    """The gRPC service behind an advertised version; kubelet calls it by the full name of its package."""
    return f"k8s.io.kubelet.pkg.apis.dra.{version}"


class Plugin:
    """The DRA service. `released` is called after claims were unprepared: a GPU may be free now."""

    def __init__(
        self, state: NodeState, metrics: Metrics, workers: ThreadPoolExecutor, released: Callable[[], None]
    ) -> None:
        self._state = state
        self._metrics = metrics
        self._workers = workers
        self._released = released

    def services(self) -> list[Any]:
        """Handlers for a gRPC server."""
        return [
            self._service(service_name(version), messages)
            for version, messages in zip(VERSIONS, (dra_v1_pb2, dra_v1beta1_pb2), strict=True)
        ]

    def _service(self, name: str, messages: Any) -> Any:
        return service(
            name,
            {
                "NodePrepareResources": (
                    lambda request, _context: self._prepare_all(request, messages),
                    messages.NodePrepareResourcesRequest,
                    messages.NodePrepareResourcesResponse,
                ),
                "NodeUnprepareResources": (
                    lambda request, _context: self._unprepare_all(request, messages),
                    messages.NodeUnprepareResourcesRequest,
                    messages.NodeUnprepareResourcesResponse,
                ),
            },
        )

    def _prepare_all(self, request: Any, messages: Any) -> Any:
        with self._metrics.request("prepare"):
            answers = self._each(request.claims, lambda ref: self._prepare(ref, messages))
        return messages.NodePrepareResourcesResponse(claims=answers)

    def _unprepare_all(self, request: Any, messages: Any) -> Any:
        with self._metrics.request("unprepare"):
            answers = self._each(request.claims, lambda ref: self._unprepare(ref, messages))
        if answers:
            self._released()
        return messages.NodeUnprepareResourcesResponse(claims=answers)

    def _each(self, claims: Iterable[Any], work: Callable[[ClaimRef], Any]) -> dict[str, Any]:
        """Works on the claims in parallel; a single one needs no other thread."""
        refs = [ClaimRef(claim.namespace, claim.name, claim.uid) for claim in claims]
        results = map(work, refs) if len(refs) == 1 else self._workers.map(work, refs)
        return {ref.uid: result for ref, result in zip(refs, results, strict=True)}

    def _prepare(self, ref: ClaimRef, messages: Any) -> Any:
        begin = time.perf_counter()
        try:
            devices = self._state.prepare(ref)
        except Exception as error:  # whatever went wrong concerns this claim only, and kubelet must hear of it
            self._metrics.prepare_failed()
            text = f"error preparing devices for claim {ref}: prepare devices failed: {error}"
            log.error("%s", text, exc_info=None if isinstance(error, (PrepareError, KubeError)) else error)  # noqa: TRY400 - a traceback only for what nobody foresaw
            return messages.NodePrepareResourceResponse(error=text)
        names = ", ".join(device.name for device in devices) or "no devices"
        log.info("prepared claim %s: %s (%.1f ms)", ref, names, (time.perf_counter() - begin) * 1000)
        return messages.NodePrepareResourceResponse(devices=[_device(ref.uid, device, messages) for device in devices])

    def _unprepare(self, ref: ClaimRef, messages: Any) -> Any:
        try:
            self._state.unprepare(ref)
        except Exception as error:
            self._metrics.unprepare_failed()
            text = f"error unpreparing devices for claim {ref}: {error}"
            log.error("%s", text, exc_info=None if isinstance(error, PrepareError) else error)  # noqa: TRY400 - a traceback only for what nobody foresaw
            return messages.NodeUnprepareResourceResponse(error=text)
        log.info("unprepared claim %s", ref)
        return messages.NodeUnprepareResourceResponse()


def _device(claim_uid: str, device: PreparedDevice, messages: Any) -> Any:
    fields: dict[str, Any] = {
        "request_names": [device.request],
        "pool_name": device.pool,
        "device_name": device.name,
        "cdi_device_ids": [device_id(claim_uid, device.name)],
    }
    if device.share_id is not None and messages is dra_v1_pb2:  # v1beta1 has no such field
        fields["share_id"] = device.share_id
    return messages.Device(**fields)
