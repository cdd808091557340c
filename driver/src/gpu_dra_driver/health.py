"""Health: answering kubelet's probes by doing what kubelet does.

Owns the gRPC health service. A check calls this driver's own sockets, so it notices a socket that somebody deleted and a server
that hangs, not only that the process lives. It never restarts anything.
"""

from __future__ import annotations

import threading
from typing import Any

import grpc

from gpu_dra_driver._proto import dra_v1_pb2, health_pb2, pluginregistration_pb2
from gpu_dra_driver.grpc_services import call, service
from gpu_dra_driver.plugin import VERSIONS, service_name
from gpu_dra_driver.registration import SERVICE as REGISTRATION_SERVICE
from gpu_dra_driver.registration import Sockets

SERVICE = "grpc.health.v1.Health"
_NAMES = frozenset({"", "liveness"})
_TIMEOUT_SECONDS = 5.0


class Health:
    """The health service: not serving until `sockets` are given, then as healthy as they are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: tuple[Any, Any] | None = None
        self._sockets: Sockets | None = None

    def serve(self, sockets: Sockets) -> None:
        """From now on the driver claims to work."""
        with self._lock:
            self._sockets = sockets
            self._channels = (
                grpc.insecure_channel(f"unix:{sockets.registration}"),
                grpc.insecure_channel(f"unix:{sockets.plugin}"),
            )

    def stop(self) -> None:
        """From now on the driver does not claim to work."""
        with self._lock:
            channels, self._channels = self._channels, None
        for channel in channels or ():
            channel.close()

    def service(self) -> Any:
        """A handler for a gRPC server."""
        return service(SERVICE, {"Check": (self._check, health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse)})

    def _check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        if request.service not in _NAMES:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service!r}; known: '' and 'liveness'")
        status = health_pb2.HealthCheckResponse.SERVING if self._works() else health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=status)

    def _works(self) -> bool:
        with self._lock:
            channels, sockets = self._channels, self._sockets
        if channels is None or sockets is None or not (sockets.registration.exists() and sockets.plugin.exists()):
            return False
        try:
            info = pluginregistration_pb2.InfoRequest()
            call(
                channels[0],
                REGISTRATION_SERVICE,
                "GetInfo",
                info,
                response=pluginregistration_pb2.PluginInfo,
                timeout=_TIMEOUT_SECONDS,
            )
            nothing = dra_v1_pb2.NodePrepareResourcesRequest()
            call(
                channels[1],
                service_name(VERSIONS[0]),
                "NodePrepareResources",
                nothing,
                response=dra_v1_pb2.NodePrepareResourcesResponse,
                timeout=_TIMEOUT_SECONDS,
            )
        except grpc.RpcError:
            return False
        return True
