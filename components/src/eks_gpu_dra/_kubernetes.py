"""Manifests for the typed SDK: the few lines between Kubernetes' own spelling and `pulumi_kubernetes`."""

import hashlib
from collections.abc import Mapping
from typing import Any

GPU_TOLERATIONS = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
"""The taint that GPU nodes carry by custom, so that nothing else is scheduled on what they cost."""


def as_args(manifest: Any) -> Any:
    """A part of a manifest in Kubernetes' own spelling, for a typed argument.

    The SDK's types ask for snake_case, but at run time a key they do not know is sent as it is. Kubernetes' spelling is
    what a reader can compare with the API reference and with `kubectl get -o yaml`, and what `to_manifest` returns.
    """
    return manifest


def content_hash(content: str | Mapping[str, str]) -> str:
    """Ten hex digits of the content, for a name that changes with it.

    A ConfigMap so named is never changed in place: the pods that mount it are rolled, and whoever reads them sees which
    version they run.
    """
    parts = [content] if isinstance(content, str) else [text for item in sorted(content.items()) for text in item]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part.encode()).to_bytes(8) + part.encode())
    return digest.hexdigest()[:10]
