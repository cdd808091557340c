"""Names: Pulumi's type tokens and resource ids, Kubernetes' group, version, kind, namespace and name. Pure."""

from dataclasses import dataclass

# Kubernetes' core group has no name; Pulumi's tokens call it "core".
_CORE = "core"
_NOT_OBJECTS = {
    "helm.sh/v4:Chart": "helm.v4.Chart",
    "helm.sh/v2:Chart": "helm.v2.Chart",
    "helm.sh/v3:Chart": "helm.v3.Chart",
}


class TokenError(ValueError):
    """A type token or id this provider cannot serve."""


@dataclass(frozen=True)
class GroupVersionKind:
    """What an object is. `group` is empty for the core group."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.api_version}/{self.kind}"


@dataclass(frozen=True)
class ObjectId:
    """Which object of its kind. `namespace` is empty for cluster-scoped objects."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def parse_api_version(api_version: str, kind: str) -> GroupVersionKind:
    """`apps/v1` or `v1`, as in a manifest."""
    group, slash, version = api_version.rpartition("/")
    return GroupVersionKind(group if slash else "", version, kind)


def parse_token(token: str) -> GroupVersionKind:
    """`kubernetes:apps/v1:Deployment` -> apps, v1, Deployment; `kubernetes:core/v1:Pod` -> "", v1, Pod.

    Raises TokenError for what is no single object: lists, patches, components.
    """
    parts = token.split(":")
    if len(parts) != 3 or parts[0] != "kubernetes" or not all(parts):
        raise TokenError(f"{token!r} is no Kubernetes type; expected kubernetes:<group>/<version>:<Kind>")
    _, module, kind = parts
    if module.startswith(("yaml", "kustomize")) or f"{module}:{kind}" in _NOT_OBJECTS:
        raise TokenError(unsupported(f"{module}:{kind}"))
    if kind.endswith("Patch"):
        raise TokenError(unsupported(f"{kind} (a patch of an object owned by others)"))
    if kind.endswith("List"):
        raise TokenError(unsupported(f"{kind}; declare the objects one by one"))
    found = parse_api_version(module, kind)
    return GroupVersionKind("", found.version, kind) if found.group == _CORE else found


def parse_id(text: str) -> ObjectId:
    """A resource id: `namespace/name`, or `name`."""
    namespace, _, name = text.rpartition("/")
    if not name or "/" in namespace:
        raise TokenError(f"{text!r} is no object id; expected NAMESPACE/NAME, or NAME for a cluster-scoped object")
    return ObjectId(namespace, name)


def unsupported(what: str) -> str:
    """The one sentence for everything this stand-in leaves to Pulumi's own provider."""
    return (
        f"not supported by the sandbox's Kubernetes provider: {what}. Install Pulumi's own provider "
        "(pulumi plugin install resource kubernetes), which is then used instead"
    )
