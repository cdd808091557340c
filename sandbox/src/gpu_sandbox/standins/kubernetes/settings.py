"""The provider's own configuration: what is honoured, what is refused, what is known yet. Reads no file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpu_sandbox.standins.kubernetes.tokens import unsupported
from gpu_sandbox.standins.kubernetes.values import Object, has_unknown, plain

_TRUE = frozenset({"true", "1", True})


@dataclass(frozen=True)
class ProviderSettings:
    """Settings of one provider instance; names as in pulumi_kubernetes.Provider."""

    kubeconfig: str | None = None
    context: str | None = None
    cluster: str | None = None
    namespace: str | None = None
    enable_patch_force: bool = False
    upsert_existing_objects: bool = False
    enable_config_map_mutable: bool = False
    enable_secret_mutable: bool = False


def read_settings(inputs: Object) -> ProviderSettings | None:
    """Settings from the provider's inputs; None while the cluster they name is not known yet."""
    if has_unknown({key: inputs.get(key) for key in ("kubeconfig", "context", "cluster", "namespace")}):
        return None
    values = plain(inputs)
    return ProviderSettings(
        kubeconfig=_text(values, "kubeconfig"),
        context=_text(values, "context"),
        cluster=_text(values, "cluster"),
        namespace=_text(values, "namespace"),
        enable_patch_force=_flag(values, "enablePatchForce", "PULUMI_K8S_ENABLE_PATCH_FORCE"),
        upsert_existing_objects=_flag(values, "upsertExistingObjects", "PULUMI_K8S_UPSERT_EXISTING_OBJECTS"),
        enable_config_map_mutable=_flag(values, "enableConfigMapMutable", "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE"),
        enable_secret_mutable=_flag(values, "enableSecretMutable", "PULUMI_K8S_ENABLE_SECRET_MUTABLE"),
    )


def refusals(inputs: Object) -> dict[str, str]:
    """Inputs that would change what this provider does in a way it cannot follow: property -> reason."""
    values = plain(inputs)
    refused = {}
    if values.get("renderYamlToDirectory"):
        refused["renderYamlToDirectory"] = unsupported("rendering YAML instead of applying it")
    if (server_side := values.get("enableServerSideApply")) is not None and server_side not in _TRUE:
        refused["enableServerSideApply"] = unsupported("client-side apply; remove the input or set it to true")
    return refused


def _text(values: Mapping[str, Any], key: str) -> str | None:
    value = values.get(key)
    return value if isinstance(value, str) and value else None


def _flag(values: Mapping[str, Any], key: str, variable: str) -> bool:
    # Provider inputs reach a provider as JSON text, the default provider's as the text of the stack configuration.
    value = values.get(key)
    return (os.environ.get(variable, "").lower() if value is None else value) in _TRUE
