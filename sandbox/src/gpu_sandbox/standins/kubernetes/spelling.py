"""Names that Pulumi spells differently: `x-kubernetes-...` in schemas of CustomResourceDefinitions. Pure.

No Pulumi language can have a property with dashes, so the SDK sends underscores, and only in this kind.
"""

from typing import Any

from gpu_sandbox.standins.kubernetes.tokens import GroupVersionKind

_PULUMI, _API = "x_kubernetes_", "x-kubernetes-"
# Field sets of managedFields carry the same names behind this mark.
_MARK = "f:"


def to_api(kind: GroupVersionKind, value: Any) -> Any:
    """A manifest as the API server spells it."""
    return _renamed(value, _PULUMI, ("_", "-")) if _is_definition(kind) else value


def from_api(kind: GroupVersionKind, value: Any) -> Any:
    """A live object, its field sets included, as Pulumi spells it."""
    return _renamed(value, _API, ("-", "_")) if _is_definition(kind) else value


def _is_definition(kind: GroupVersionKind) -> bool:
    return (kind.group, kind.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition")


def _renamed(value: Any, prefix: str, letters: tuple[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key.replace(*letters) if key.removeprefix(_MARK).startswith(prefix) else key: _renamed(
                item, prefix, letters
            )
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item, prefix, letters) for item in value]
    return value
