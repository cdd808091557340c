"""What an API server's refusal means for somebody running Pulumi, and what to do. Pure."""

import re

from gpu_sandbox.standins.kubernetes.api import ApiError, Cause
from gpu_sandbox.standins.kubernetes.tokens import GroupVersionKind, ObjectId

_MANAGER = re.compile(r'conflict with "(?P<manager>[^"]+)"')
_NO_NAMESPACE = re.compile(r'namespaces "(?P<name>[^"]+)" not found')


def explain(error: ApiError, kind: GroupVersionKind, object_id: ObjectId) -> str:
    """One message: what was refused, why, what to do."""
    what = f"{kind.kind} {object_id}"
    if conflicts := [cause for cause in error.causes if cause.reason == "FieldManagerConflict"]:
        return (
            f"{what}: {_owners(conflicts)}. Leave these fields out of the program, or take them over by the annotation "
            '`pulumi.com/patchForce: "true"` (or the provider\'s enable_patch_force)'
        )
    if missing := _NO_NAMESPACE.search(error.message):
        name = missing["name"]
        return (
            f"{what}: namespace {name!r} does not exist; create it in the program and make this resource depend on it"
        )
    if error.code == 401:
        return f"{what}: the API server does not accept the kubeconfig's credentials: {error.message}"
    if len(error.causes) > 1:
        lines = "".join(f"\n  {cause.field or '(object)'}: {cause.message}" for cause in error.causes)
        return f"{what} is refused ({error.reason}):{lines}"
    return f"{what}: {error.message}"


def already_exists(kind: GroupVersionKind, object_id: ObjectId) -> str:
    """The message for a create of what is there."""
    return (
        f"{kind.kind} {object_id} already exists and is not in this stack's state. Import it "
        f"(pulumi import), choose another name, or set upsert_existing_objects on the provider to take it over"
    )


def cannot_dry_run(error: ApiError) -> bool:
    """Whether the refusal speaks of the dry run only: an admission webhook with side effects."""
    return error.code == 400 and "dry run" in error.message


def _owners(conflicts: list[Cause]) -> str:
    fields: dict[str, list[str]] = {}
    for cause in conflicts:
        found = _MANAGER.search(cause.message)
        fields.setdefault(found["manager"] if found else cause.message, []).append(cause.field)
    return "; ".join(
        f"{manager!r} has set {', '.join(sorted(names))} to another value" for manager, names in fields.items()
    )
