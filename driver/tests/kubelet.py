"""The part of kubelet that a DRA driver meets: watching for registration sockets, and calling the DRA service."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc

from gpu_dra_driver._proto import dra_v1_pb2, dra_v1beta1_pb2
from gpu_dra_driver._proto import pluginregistration_pb2 as registration

_GRPC_PACKAGE = "k8s.io.kubelet.pkg.apis.dra"
_VERSIONS = {"v1.DRAPlugin": dra_v1_pb2, "v1beta1.DRAPlugin": dra_v1beta1_pb2}


class Kubelet:
    """A kubelet that knows the given versions of the DRA service; `plugins_dir` and `registry` are its folders."""

    def __init__(self, root: Path, versions: tuple[str, ...] = tuple(_VERSIONS)) -> None:
        self.plugins_dir = root / "plugins"
        self.registry = root / "plugins_registry"
        self._versions = versions
        self._channel: Any = None
        self._messages: Any = None
        self._service = ""

    def environment(self) -> dict[str, str]:
        """The driver's settings for this kubelet."""
        return {
            "KUBELET_PLUGINS_DIRECTORY_PATH": str(self.plugins_dir),
            "KUBELET_REGISTRAR_DIRECTORY_PATH": str(self.registry),
        }

    def sockets(self) -> list[str]:
        """Names of the registration sockets that are there."""
        return sorted(path.name for path in self.registry.glob("*.sock")) if self.registry.exists() else []

    def register(self, timeout: float = 30, socket: str = "", refuse: str = "") -> registration.PluginInfo:
        """Waits for the driver's registration socket and registers it, or refuses it with a reason."""
        deadline = time.monotonic() + timeout
        while not (found := [name for name in self.sockets() if socket in name]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no registration socket appeared in {timeout} s")
            time.sleep(0.02)
        with grpc.insecure_channel(f"unix:{self.registry / found[-1]}") as channel:
            ask = f"/{'pluginregistration.Registration'}"
            info: registration.PluginInfo = _call(
                channel, f"{ask}/GetInfo", registration.InfoRequest(), registration.PluginInfo
            )
            status = registration.RegistrationStatus(plugin_registered=not refuse, error=refuse)
            _call(channel, f"{ask}/NotifyRegistrationStatus", status, registration.RegistrationStatusResponse)
        if not refuse:
            self.close()
            self._service = next(version for version in info.supported_versions if version in self._versions)
            self._messages = _VERSIONS[self._service]
            self._channel = grpc.insecure_channel(f"unix:{info.endpoint}")
        return info

    def close(self) -> None:
        """Closes the connection to the driver."""
        if self._channel is not None:
            self._channel.close()

    def prepare(self, *claims: dict[str, Any]) -> dict[str, Any]:
        """Answers by claim UID: an object with `devices` and `error`."""
        return self._claims_call("NodePrepareResources", self._messages.NodePrepareResourcesResponse, claims)

    def unprepare(self, *claims: dict[str, Any]) -> dict[str, Any]:
        """Answers by claim UID: an object with `error`."""
        return self._claims_call("NodeUnprepareResources", self._messages.NodeUnprepareResourcesResponse, claims)

    def prepare_one(self, claim: dict[str, Any]) -> Any:
        """The answer for a single claim, which must not be an error."""
        answer = self.prepare(claim)[claim["metadata"]["uid"]]
        assert not answer.error, answer.error
        return answer

    def prepare_error(self, claim: dict[str, Any]) -> str:
        """The error for a single claim."""
        return str(self.prepare(claim)[claim["metadata"]["uid"]].error)

    def unprepare_one(self, claim: dict[str, Any]) -> None:
        """Unprepares a single claim, which must succeed."""
        answer = self.unprepare(claim)[claim["metadata"]["uid"]]
        assert not answer.error, answer.error

    def _claims_call(self, method: str, response: Any, claims: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        kind = method.removesuffix("Resources") + "ResourcesRequest"
        metadata = [claim["metadata"] for claim in claims]
        named = [
            self._messages.Claim(namespace=each["namespace"], name=each["name"], uid=each["uid"]) for each in metadata
        ]
        request = getattr(self._messages, kind)(claims=named)
        return dict(_call(self._channel, f"/{_GRPC_PACKAGE}.{self._service}/{method}", request, response).claims)


def _call(channel: Any, method: str, request: Any, response: Any) -> Any:
    stub = channel.unary_unary(
        method, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
    )
    return stub(request, timeout=45)  # kubelet's own limit
