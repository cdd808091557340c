"""The Kubernetes API, as far as the driver needs it: claims read, slices written, this node's UID.

Owns the connection (kept alive between claims, so that preparing one costs a single request) and the step from API objects to
the driver's own values. It decides nothing. Every failure is a KubeError that says what was being done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx2
from lightkube import Client, KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.resources.core_v1 import Node
from lightkube.resources.resource_v1 import ResourceClaim, ResourceSlice

from gpu_dra_driver import DRIVER_NAME
from gpu_dra_driver.claims import Claim, OpaqueConfig, Result

# Below the 90 s after which an API server closes an idle connection by itself.
_KEEP_ALIVE_SECONDS = 80.0
_TIMEOUT_SECONDS = 10.0
# The server ends a watch after this time, so one that broke silently is noticed.
_WATCH_SECONDS = 300

T = TypeVar("T")


class KubeError(Exception):
    """The API refused or could not be reached; the text says what was tried."""


class Api:
    """A client bound to one node. Methods may be called from any thread."""

    def __init__(self, kubeconfig: Path | None, node_name: str) -> None:
        """Raises KubeError when there is no usable configuration; connects only at the first request."""
        self._node_name = node_name
        try:
            config = (
                KubeConfig.from_service_account() if kubeconfig is None else KubeConfig.from_file(kubeconfig)
            ).get()
            if config is None or config.user is None:
                raise KubeError(f"{kubeconfig} has no current context with a user")
            context = verify_cluster(config.cluster, config.user, config.abs_file)
        except (ConfigError, KeyError, OSError) as error:
            raise KubeError(
                f"no usable API configuration (a service account in a pod, or KUBECONFIG): {error}"
            ) from error
        limits = httpx2.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=_KEEP_ALIVE_SECONDS)
        transport = httpx2.HTTPTransport(verify=context, limits=limits, retries=1)
        self._client = Client(config, timeout=httpx2.Timeout(_TIMEOUT_SECONDS), transport=transport)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _do(self, what: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except httpx2.HTTPError as error:
            raise KubeError(f"cannot {what}: {error or type(error).__name__}") from error

    def _optional(self, what: str, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise KubeError(f"cannot {what}: {error}") from error
        except httpx2.HTTPError as error:
            raise KubeError(f"cannot {what}: {error or type(error).__name__}") from error

    def node_uid(self) -> str:
        """UID of this node's Node object. Raises KubeError, also when there is no such node."""
        what = f"read node {self._node_name}"
        node = self._do(what, lambda: self._client.get(Node, self._node_name))
        if node.metadata is None or not node.metadata.uid:
            raise KubeError(f"cannot {what}: it has no UID")
        return node.metadata.uid

    def get_claim(self, namespace: str, name: str) -> Claim | None:
        """The claim of this name, or None."""
        found = self._optional(
            f"read ResourceClaim {namespace}/{name}", lambda: self._client.get(ResourceClaim, name, namespace=namespace)
        )
        return None if found is None else _claim(found)

    def claims(self) -> list[Claim]:
        """All claims of the cluster: there is no selector for those allocated on one node."""
        listed = self._do(
            "list ResourceClaims", lambda: list(self._client.list(ResourceClaim, namespace="*", chunk_size=500))
        )
        return [_claim(each) for each in listed]

    @property
    def _own_slices(self) -> dict[str, Any]:
        return {"spec.driver": DRIVER_NAME, "spec.nodeName": self._node_name}

    def slices(self) -> tuple[list[dict[str, Any]], str]:
        """This driver's slices of this node, and the version of that list, from which a watch can go on."""

        def listed() -> tuple[list[dict[str, Any]], str]:
            found = self._client.list(ResourceSlice, fields=self._own_slices)
            documents = [each.to_dict() for each in found]
            return documents, found.resourceVersion

        return self._do("list ResourceSlices", listed)

    def create_slice(self, document: dict[str, Any]) -> dict[str, Any]:
        """Creates a slice and returns it as the server keeps it."""
        wanted = _slice(document)
        created: dict[str, Any] = self._do("create a ResourceSlice", lambda: self._client.create(wanted)).to_dict()
        return created

    def replace_slice(self, document: dict[str, Any]) -> dict[str, Any]:
        """Replaces a slice; refused if somebody else changed it meanwhile."""
        wanted = _slice(document)
        what = f"update ResourceSlice {document['metadata']['name']}"
        replaced: dict[str, Any] = self._do(what, lambda: self._client.replace(wanted)).to_dict()
        return replaced

    def delete_slice(self, name: str) -> None:
        """Deletes a slice; one that is gone is no error."""
        self._optional(f"delete ResourceSlice {name}", lambda: self._client.delete(ResourceSlice, name))

    def watch_slices(self, version: str) -> Iterator[tuple[str, str]]:
        """Changes of this driver's slices after `version`: the event's type and the object's version.

        Ends when the server has forgotten that version, as it does after minutes without a change. Raises KubeError.
        """
        events = self._client.watch(
            ResourceSlice, fields=self._own_slices, resource_version=version, server_timeout=_WATCH_SECONDS
        )
        try:
            for kind, changed in events:
                yield kind, (changed.metadata.resourceVersion if changed.metadata else None) or ""
        except httpx2.HTTPError as error:
            if isinstance(error, ApiError) and error.status.code == 410:
                return
            raise KubeError(f"cannot watch ResourceSlices: {error or type(error).__name__}") from error


def _slice(document: dict[str, Any]) -> ResourceSlice:
    return cast("ResourceSlice", ResourceSlice.from_dict(document))


def _claim(found: ResourceClaim) -> Claim:
    metadata = found.metadata
    allocation = found.status.allocation if found.status else None
    devices = allocation.devices if allocation else None
    return Claim(
        uid=(metadata.uid if metadata else None) or "",
        namespace=(metadata.namespace if metadata else None) or "",
        name=(metadata.name if metadata else None) or "",
        allocated=allocation is not None,
        results=tuple(
            Result(each.request, each.driver, each.pool, each.device, bool(each.adminAccess), each.shareID)
            for each in (devices.results if devices else None) or ()
        ),
        configs=tuple(
            # Configuration that is not opaque has no driver to tell whose it is; the scheduler allows none today.
            OpaqueConfig(tuple(each.requests or ()), each.opaque.driver, each.opaque.parameters)
            for each in (devices.config if devices else None) or ()
            if each.opaque is not None
        ),
    )
