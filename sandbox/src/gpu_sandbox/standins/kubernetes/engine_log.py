"""Words to the engine: the status line of a resource while it is waited for, and warnings."""

from typing import Any

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc


class EngineLog:
    """The engine's log. What cannot be delivered is dropped: no operation fails for want of a listener."""

    def __init__(self, address: str) -> None:
        self._stub: Any = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address)) if address else None

    def progress(self, urn: str, text: str) -> None:
        """Shown beside the resource until the next one."""
        self._log(engine_pb2.LogSeverity.INFO, urn, text, ephemeral=True)

    def warn(self, urn: str, text: str) -> None:
        """Shown among the diagnostics."""
        self._log(engine_pb2.LogSeverity.WARNING, urn, text, ephemeral=False)

    def _log(self, severity: Any, urn: str, text: str, *, ephemeral: bool) -> None:
        if self._stub is None:
            return
        try:
            self._stub.Log(
                engine_pb2.LogRequest(severity=severity, urn=urn, message=text, ephemeral=ephemeral), timeout=5
            )
        except grpc.RpcError:
            return
