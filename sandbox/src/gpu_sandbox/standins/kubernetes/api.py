"""Calls to the API server: discovery, get, list, apply, delete, and errors as data. Decides nothing."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2

from gpu_sandbox.standins.kubernetes.connection import Connection
from gpu_sandbox.standins.kubernetes.tokens import GroupVersionKind, ObjectId

# The owner of every field this provider applies. One name for all resources: two resources never share an object.
FIELD_MANAGER = "pulumi-kubernetes"

_RETRIED = frozenset({429, 502, 503, 504})
_ATTEMPTS = 5
# A CustomResourceDefinition is served a moment after it is accepted.
_DISCOVERY_SECONDS = 10.0


class UnreachableError(ConnectionError):
    """The API server did not answer."""


@dataclass(frozen=True)
class Cause:
    """One reason of a refusal, naming the field."""

    reason: str
    message: str
    field: str


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, code: int, reason: str, message: str, causes: tuple[Cause, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.causes = causes


class NoKindError(LookupError):
    """The API server serves no such kind."""

    def __init__(self, kind: GroupVersionKind) -> None:
        super().__init__(
            f"the cluster does not serve {kind.kind} in {kind.api_version}; install its CustomResourceDefinition "
            "first (and make this resource depend on it), or use an apiVersion this Kubernetes release has"
        )


@dataclass(frozen=True)
class Endpoint:
    """Where objects of a kind live."""

    path: str
    plural: str
    namespaced: bool

    def collection(self, namespace: str) -> str:
        scope = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced and namespace else ""
        return f"{self.path}{scope}/{self.plural}"

    def item(self, object_id: ObjectId) -> str:
        return f"{self.collection(object_id.namespace)}/{quote(object_id.name, safe='')}"


@dataclass
class Api:
    """One API server."""

    connection: Connection
    _endpoints: dict[GroupVersionKind, Endpoint] = field(default_factory=dict)

    def endpoint(self, kind: GroupVersionKind, *, wait: bool = False) -> Endpoint:
        """Where the kind lives. With `wait`, a kind just installed is waited for. Raises NoKindError."""
        deadline = time.monotonic() + (_DISCOVERY_SECONDS if wait else 0.0)
        while kind not in self._endpoints:
            self._discover(kind.group, kind.version)
            if kind not in self._endpoints:
                if time.monotonic() >= deadline:
                    raise NoKindError(kind)
                time.sleep(0.5)
        return self._endpoints[kind]

    def get(self, kind: GroupVersionKind, object_id: ObjectId) -> dict[str, Any] | None:
        """The object, None if there is none."""
        try:
            return self._request("GET", self.endpoint(kind).item(object_id))
        except ApiError as error:
            if error.code == httpx2.codes.NOT_FOUND:
                return None
            raise

    def list(self, kind: GroupVersionKind, namespace: str, **selectors: str) -> list[dict[str, Any]]:
        """Objects of a namespace; `labelSelector` and `fieldSelector` as the API names them."""
        answer = self._request("GET", self.endpoint(kind).collection(namespace), params=selectors)
        items: list[dict[str, Any]] = answer.get("items") or []
        return items

    def apply(
        self, kind: GroupVersionKind, object_id: ObjectId, manifest: Mapping[str, Any], *, force: bool, dry_run: bool
    ) -> dict[str, Any]:
        """Server-side apply with strict field validation: a misspelt field is refused, not dropped."""
        params = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", "force": "true" if force else "false"}
        if dry_run:
            params["dryRun"] = "All"
        return self._request(
            "PATCH",
            self.endpoint(kind, wait=not dry_run).item(object_id),
            params=params,
            content=json.dumps(manifest),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )

    def delete(self, kind: GroupVersionKind, object_id: ObjectId, *, propagation: str, uid: str | None) -> bool:
        """Ask for deletion; False if there was nothing (or, by uid, another object) to delete."""
        options: dict[str, Any] = {"propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self._request(
                "DELETE",
                self.endpoint(kind).item(object_id),
                content=json.dumps(options),
                headers={"Content-Type": "application/json"},
            )
        except ApiError as error:
            if error.code in (httpx2.codes.NOT_FOUND, httpx2.codes.CONFLICT):
                return False
            raise
        return True

    def _discover(self, group: str, version: str) -> None:
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            document = self._request("GET", path)
        except ApiError as error:
            if error.code == httpx2.codes.NOT_FOUND:
                return
            raise
        for entry in document.get("resources") or []:
            if "/" not in entry["name"]:  # a subresource
                kind = GroupVersionKind(group, version, entry["kind"])
                self._endpoints[kind] = Endpoint(path, entry["name"], bool(entry["namespaced"]))

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        for attempt in range(_ATTEMPTS):
            try:
                response = self.connection.http.request(method, path, params=params, content=content, headers=headers)
            except httpx2.TransportError as error:
                # Every request here may be sent twice with one effect, so an answer lost on the way is asked for again;
                # otherwise an object that was made would be missing from the state.
                refused = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                if not refused and attempt == 0:
                    continue
                raise UnreachableError(
                    f"the API server at {self.connection.server} does not answer: {error}"
                ) from error
            if response.status_code not in _RETRIED or attempt == _ATTEMPTS - 1:
                break
            time.sleep(min(float(response.headers.get("Retry-After") or 2**attempt / 4), 5.0))
        if response.is_success:
            document: dict[str, Any] = json.loads(response.content)
            return document
        raise _error(response)


def _error(response: httpx2.Response) -> ApiError:
    """The Status object of an error answer, or its text when something in front of the API server answered."""
    try:
        status = json.loads(response.content)
        details = status.get("details") or {}
        causes = tuple(
            Cause(cause.get("reason", ""), cause.get("message", ""), cause.get("field", ""))
            for cause in details.get("causes") or []
        )
        return ApiError(response.status_code, status.get("reason", ""), status.get("message", ""), causes)
    except (ValueError, AttributeError):
        return ApiError(response.status_code, response.reason_phrase, response.text[:500] or response.reason_phrase)
