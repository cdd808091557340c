"""What the user declared, made complete: kind, name, namespace; and the manifest that is applied. Pure.

Owns automatic names and what a resource's inputs mean as a Kubernetes object. Never asks the cluster.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from gpu_sandbox.standins.kubernetes.tokens import GroupVersionKind, ObjectId, parse_api_version
from gpu_sandbox.standins.kubernetes.values import UNKNOWN, Object, Secret, Value, plain, without_nulls

AUTONAMED = "pulumi.com/autonamed"
# What Kubernetes allows for the names of most kinds.
_MAX_NAME = 253


@dataclass(frozen=True)
class Naming:
    """How a resource without metadata.name gets one."""

    logical_name: str
    seed: bytes
    proposed: str = ""
    mode: Literal["propose", "enforce", "disable"] = "propose"

    def choose(self) -> str | None:
        """A name, None when the user's autonaming configuration forbids one."""
        if self.mode == "disable":
            return None
        if self.proposed:
            return self.proposed
        digest = hashlib.sha256(self.seed + self.logical_name.encode()).hexdigest()[:8]
        return f"{self.logical_name.lower()[: _MAX_NAME - 9]}-{digest}"


@dataclass(frozen=True)
class Checked:
    """Completed inputs and what is wrong with them: property -> reason."""

    inputs: Object
    failures: dict[str, str]


UNSUPPORTED_ANNOTATIONS = ("pulumi.com/waitFor", "pulumi.com/replaceUnready")
"""Of the official provider; refused, because to ignore them would report things as ready that are not."""


def check(kind: GroupVersionKind, news: Object, olds: Object, naming: Naming, namespace: str | None) -> Checked:
    """Complete the inputs of a resource.

    `namespace` is what an object without one gets; None for a cluster-scoped kind, or when it is not known which it is.
    """
    inputs = without_nulls(news)
    failures: dict[str, str] = {}
    inputs.setdefault("apiVersion", kind.api_version)
    inputs.setdefault("kind", kind.kind)
    if kind == GroupVersionKind("", "v1", "Secret"):
        _hide_secret_data(inputs)
    metadata = inputs.setdefault("metadata", {})
    if isinstance(metadata, Secret):
        metadata = inputs["metadata"] = metadata.value
    if not isinstance(metadata, dict):  # the whole metadata is not known yet
        return Checked(inputs, failures)
    if "generateName" in metadata:
        failures["metadata.generateName"] = (
            "server-side apply needs a name; leave metadata.name out to get a generated one, and remove generateName"
        )
    elif "name" not in metadata:
        _autoname(metadata, olds, naming, failures)
    if namespace is not None and "namespace" not in metadata:
        metadata["namespace"] = namespace
    for name in UNSUPPORTED_ANNOTATIONS:
        if annotation(inputs, name) is not None:
            failures[f"metadata.annotations.{name}"] = (
                "the sandbox's Kubernetes provider does not do this; remove it here, or install the official provider"
            )
    return Checked(inputs, failures)


def identity(inputs: Object, default_namespace: str) -> ObjectId:
    """Namespace and name of checked inputs; UNKNOWN parts must have been excluded by the caller."""
    metadata = plain(inputs).get("metadata") or {}
    return ObjectId(metadata.get("namespace") or default_namespace, metadata.get("name") or "")


def object_kind(token_kind: GroupVersionKind, inputs: Object) -> GroupVersionKind:
    """What the inputs declare; a token kept through an alias may name an older version."""
    api_version, kind = plain(inputs.get("apiVersion")), plain(inputs.get("kind"))
    if isinstance(api_version, str) and isinstance(kind, str):
        return parse_api_version(api_version, kind)
    return token_kind


def manifest(inputs: Object) -> dict[str, Any]:
    """The object to apply. A Secret's stringData becomes data, because a field written but never read back would be
    owned by nobody and look changed for ever.
    """
    applied: dict[str, Any] = plain(without_nulls(inputs))
    applied.pop("status", None)
    if applied.get("apiVersion") == "v1" and applied.get("kind") == "Secret" and "stringData" in applied:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in applied.pop("stringData").items()}
        applied["data"] = {**applied.get("data", {}), **encoded}
    return applied


def annotation(inputs: Object, name: str) -> str | None:
    """A `pulumi.com/...` annotation, None when absent or not known."""
    metadata = plain(inputs).get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    value = annotations.get(name) if isinstance(annotations, dict) else None
    return value if isinstance(value, str) else None


def _autoname(metadata: Object, olds: Object, naming: Naming, failures: dict[str, str]) -> None:
    old_metadata = plain(olds).get("metadata")
    annotations = metadata.get("annotations") or {}
    if annotations is UNKNOWN or isinstance(annotations, Secret):
        annotations = None
    if isinstance(old_metadata, dict) and (old_metadata.get("annotations") or {}).get(AUTONAMED) == "true":
        metadata["name"] = old_metadata["name"]
    elif (chosen := naming.choose()) is not None:
        metadata["name"] = chosen
    else:
        failures["metadata.name"] = "automatic names are disabled for this resource; set metadata.name"
        return
    if annotations is not None:
        metadata["annotations"] = {**annotations, AUTONAMED: "true"}


def _hide_secret_data(inputs: Object) -> None:
    for key in ("data", "stringData"):
        value: Value = inputs.get(key)
        if value is not None and not isinstance(value, Secret):
            inputs[key] = Secret(value)
