"""The life of one Kubernetes object under Pulumi: diff, create, read, update, delete.

Owns the order of steps and what each result means. Reading requests, judging differences, waiting and HTTP are others'.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gpu_sandbox.standins.kubernetes.api import FIELD_MANAGER, Api, ApiError, Cause, NoKindError, UnreachableError
from gpu_sandbox.standins.kubernetes.difference import Difference, changed_paths, judge
from gpu_sandbox.standins.kubernetes.explain import already_exists, cannot_dry_run, explain
from gpu_sandbox.standins.kubernetes.inputs import annotation, identity, manifest, object_kind
from gpu_sandbox.standins.kubernetes.lifecycle import Found, InitFailedError, RefusedError, Report
from gpu_sandbox.standins.kubernetes.ownership import imported_inputs, live_inputs, owned_fields
from gpu_sandbox.standins.kubernetes.readiness.verdict import State
from gpu_sandbox.standins.kubernetes.settings import ProviderSettings
from gpu_sandbox.standins.kubernetes.spelling import from_api, to_api
from gpu_sandbox.standins.kubernetes.tokens import GroupVersionKind, ObjectId, parse_id
from gpu_sandbox.standins.kubernetes.values import (
    UNKNOWN,
    Object,
    Secret,
    has_unknown,
    mark_secrets,
    plain,
    redactor,
)
from gpu_sandbox.standins.kubernetes.waiting import DEFAULT_SECONDS, NotReadyError, Waiter, propagation

_SKIP_AWAIT = "pulumi.com/skipAwait"
_TIMEOUT = "pulumi.com/timeoutSeconds"
_PATCH_FORCE = "pulumi.com/patchForce"
_PROPAGATION = "pulumi.com/deletionPropagationPolicy"
_PROPAGATIONS = {"orphan": "Orphan", "background": "Background", "foreground": "Foreground"}
_SECRET = GroupVersionKind("", "v1", "Secret")
_CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")


@dataclass
class Objects:
    """Objects of one cluster."""

    api: Api
    settings: ProviderSettings
    waiter: Waiter
    # Objects whose replacement was decided in this process: their create finds the old one still there in a preview.
    _replaced: set[tuple[str, str, ObjectId]] = field(default_factory=set)

    @property
    def default_namespace(self) -> str:
        return self.api.connection.namespace

    def namespace_for(self, kind: GroupVersionKind) -> str | None:
        """The namespace an object of this kind gets when it names none; None if it has none, or nobody knows."""
        try:
            return self.default_namespace if self.api.endpoint(kind).namespaced else None
        except (NoKindError, UnreachableError):
            return None

    def diff(self, token_kind: GroupVersionKind, object_id: str, old: Object, new: Object) -> Difference:
        """The difference between recorded and new inputs, with the API server's word on what cannot be changed."""
        old_kind, kind = object_kind(token_kind, old), object_kind(token_kind, new)
        current = parse_id(object_id)
        old = _with_namespace(old, current)
        moved = (old_kind.group, old_kind.kind) != (kind.group, kind.kind) or self._moved(current, kind, new)
        refusal: tuple[Cause, ...] = ()
        if not moved and changed_paths(old, new) and not has_unknown(new):
            refusal = self._dry_run_refusal(kind, current, new)
        difference = judge(
            old, new, identity_changed=moved, replaced_fields=self._replaced_fields(kind), refusal=refusal
        )
        if difference.replaces:
            self._replaced.add((kind.group, kind.kind, current))
        return difference

    def create(
        self, token_kind: GroupVersionKind, inputs: Object, *, seconds: float, preview: bool, report: Report
    ) -> Found:
        """Make the object and wait until it works; in a preview, ask the server what it would become."""
        kind = object_kind(token_kind, inputs)
        if preview and has_unknown(inputs):
            return Found("", _preview_outputs(inputs, inputs), inputs)
        try:
            self.api.endpoint(kind, wait=not preview)
            target = self._target(kind, inputs)
            exists = not self.settings.upsert_existing_objects and self.api.get(kind, target) is not None
            if preview and exists:
                if (kind.group, kind.kind, target) not in self._replaced:
                    report.warn(
                        f"{kind.kind} {target} exists already: unless this update replaces it, creating it will fail"
                    )
                return Found("", _preview_outputs(inputs, inputs), inputs)
            if exists:
                raise RefusedError(already_exists(kind, target))
            live = self._apply(kind, target, inputs, dry_run=preview)
        except (NoKindError, UnreachableError) as error:
            if not preview:
                raise
            if isinstance(error, UnreachableError):
                report.warn(f"previewed without the cluster: {error}")
            # A kind not served yet may be defined by this very update.
            return Found("", _preview_outputs(inputs, inputs), inputs)
        if preview:
            return Found("", _preview_outputs(live or inputs, inputs), inputs)
        assert live is not None
        return self._settle(kind, target, inputs, live, seconds=seconds, report=report)

    def read(self, token_kind: GroupVersionKind, object_id: str, inputs: Object, outputs: Object) -> Found | None:
        """The object as it is now, None if it is gone. Without inputs, as `pulumi import` asks, they are made from it."""
        kind = object_kind(token_kind, inputs or outputs)
        target = parse_id(object_id)
        with _explaining(kind, target, inputs):
            live = from_api(kind, self.api.get(kind, target))
        if live is None:
            return None
        if not inputs:
            found = imported_inputs(live)
            if kind == _SECRET and "data" in found:
                found["data"] = Secret(found["data"])
            return Found(object_id, _outputs(kind, live, found, {}), found)
        current = live_inputs(inputs, live, owned_fields(live, FIELD_MANAGER) or {})
        recorded = _outputs(kind, live, current, outputs)
        if annotation(current, _SKIP_AWAIT) != "true":
            verdict = self.waiter.judge(kind, live)
            if verdict.state is not State.READY:
                reasons = [
                    f"{kind.kind} {target}: {text}" for text in (verdict.reason, *self.waiter.reasons(kind, live))
                ]
                raise InitFailedError(object_id, recorded, current, reasons)
        return Found(object_id, recorded, current)

    def update(
        self,
        token_kind: GroupVersionKind,
        object_id: str,
        inputs: Object,
        outputs: Object,
        *,
        seconds: float,
        preview: bool,
        report: Report,
    ) -> Found:
        """Apply the new inputs and wait until the object works; in a preview, ask what it would become."""
        kind = object_kind(token_kind, inputs)
        target = parse_id(object_id)
        if preview and has_unknown(inputs):
            return Found(object_id, _preview_outputs(inputs, inputs), inputs)
        try:
            live = self._apply(kind, target, inputs, dry_run=preview)
        except UnreachableError as error:
            if not preview:
                raise
            report.warn(f"previewed without the cluster: {error}")
            live = None
        if preview:
            return Found(object_id, _preview_outputs(live or plain(outputs), inputs), inputs)
        assert live is not None
        return self._settle(kind, target, inputs, live, seconds=seconds, report=report)

    def delete(
        self,
        token_kind: GroupVersionKind,
        object_id: str,
        inputs: Object,
        outputs: Object,
        *,
        seconds: float,
        report: Report,
    ) -> None:
        """Delete the object and wait until it is gone. One that is gone, or made anew by somebody else, is done."""
        kind = object_kind(token_kind, inputs or outputs)
        target = parse_id(object_id)
        uid = (plain(outputs).get("metadata") or {}).get("uid")
        chosen = annotation(inputs, _PROPAGATION)
        policy = _PROPAGATIONS.get((chosen or "").lower(), propagation(kind))
        try:
            with _explaining(kind, target, inputs):
                asked = self.api.delete(kind, target, propagation=policy, uid=uid)
        except NoKindError:
            return  # its definition is gone, and every object went with it
        if not asked:
            if self.api.get(kind, target) is not None:
                report.warn(f"{kind.kind} {target} was left alone: it is not the object this stack created")
            return
        if annotation(inputs, _SKIP_AWAIT) != "true":
            wait = _seconds(inputs, seconds)
            self.waiter.until_gone(kind, target, uid=uid, seconds=wait, progress=report.progress)

    def _settle(
        self,
        kind: GroupVersionKind,
        target: ObjectId,
        inputs: Object,
        live: dict[str, Any],
        *,
        seconds: float,
        report: Report,
    ) -> Found:
        if annotation(inputs, _SKIP_AWAIT) != "true":
            try:
                live = self.waiter.until_ready(
                    kind, target, live, seconds=_seconds(inputs, seconds), progress=report.progress
                )
                live = from_api(kind, live)
            except NotReadyError as error:
                outputs = _outputs(kind, from_api(kind, error.live), inputs, {})
                raise InitFailedError(str(target), outputs, inputs, error.reasons) from error
        return Found(str(target), _outputs(kind, live, inputs, {}), inputs)

    def _apply(
        self, kind: GroupVersionKind, target: ObjectId, inputs: Object, *, dry_run: bool
    ) -> dict[str, Any] | None:
        """The object after a server-side apply; None when a dry run cannot tell yet."""
        force = self.settings.enable_patch_force or annotation(inputs, _PATCH_FORCE) == "true"
        try:
            applied = to_api(kind, manifest(inputs))
            live: dict[str, Any] = from_api(kind, self.api.apply(kind, target, applied, force=force, dry_run=dry_run))
        except ApiError as error:
            # Its namespace may be made by this very update; a webhook may refuse dry runs.
            if dry_run and (error.code == 404 or cannot_dry_run(error)):
                return None
            raise RefusedError(redactor(inputs)(explain(error, kind, target))) from error
        return live

    def _dry_run_refusal(self, kind: GroupVersionKind, target: ObjectId, inputs: Object) -> tuple[Cause, ...]:
        try:
            # Ownership conflicts are the update's to report; here only what the object could become counts.
            self.api.apply(kind, target, to_api(kind, manifest(inputs)), force=True, dry_run=True)
        except ApiError as error:
            return error.causes if error.code == 422 else ()
        except (NoKindError, UnreachableError):
            return ()
        return ()

    def _target(self, kind: GroupVersionKind, inputs: Object) -> ObjectId:
        named = identity(inputs, self.default_namespace)
        return named if self.api.endpoint(kind).namespaced else ObjectId("", named.name)

    def _moved(self, current: ObjectId, kind: GroupVersionKind, inputs: Object) -> bool:
        metadata = plain(inputs).get("metadata")
        if not isinstance(metadata, dict) or metadata.get("name") is UNKNOWN or metadata.get("namespace") is UNKNOWN:
            return True
        named = identity(inputs, self.default_namespace)
        return named.name != current.name or bool(current.namespace and named.namespace != current.namespace)

    def _replaced_fields(self, kind: GroupVersionKind) -> frozenset[str]:
        """As Pulumi's provider does, data is replaced rather than mutated, so that pods using it are rolled."""
        if kind == _CONFIG_MAP and not self.settings.enable_config_map_mutable:
            return frozenset({"data", "binaryData", "immutable"})
        if kind == _SECRET and not self.settings.enable_secret_mutable:
            return frozenset({"data", "stringData", "type", "immutable"})
        return frozenset()


@contextmanager
def _explaining(kind: GroupVersionKind, target: ObjectId, inputs: Object) -> Iterator[None]:
    """Refusals of the API server as words for the user, without the secrets they may quote."""
    try:
        yield
    except ApiError as error:
        raise RefusedError(redactor(inputs)(explain(error, kind, target))) from error


def _with_namespace(inputs: Object, current: ObjectId) -> Object:
    """The recorded inputs with the namespace the object got.

    When a custom resource is checked before its definition exists, nobody knows yet that it has a namespace.
    """
    metadata = inputs.get("metadata")
    if not isinstance(metadata, dict) or "namespace" in metadata or not current.namespace:
        return inputs
    return {**inputs, "metadata": {**metadata, "namespace": current.namespace}}


def unreached_outputs(inputs: Object) -> Object:
    """Outputs of a preview whose cluster is not known yet."""
    return _preview_outputs(inputs, inputs)


def _outputs(kind: GroupVersionKind, live: dict[str, Any], inputs: Object, recorded: Object) -> Object:
    """The live object for the state: without ownership records, and secret where the inputs or the old state are."""
    metadata = {key: value for key, value in live["metadata"].items() if key != "managedFields"}
    outputs: Object = {**live, "metadata": metadata}
    if kind == _SECRET:
        outputs |= {"data": Secret(live.get("data") or {})}
        if "stringData" in inputs:
            outputs["stringData"] = inputs["stringData"]
    marked: Object = mark_secrets(mark_secrets(outputs, inputs), recorded)
    return marked


def _preview_outputs(expected: Object, inputs: Object) -> Object:
    """What the object would be: what only the real write decides stays unknown."""
    outputs: Object = mark_secrets(dict(expected), inputs)
    if isinstance(metadata := outputs.get("metadata"), dict):
        kept = {key: value for key, value in metadata.items() if key != "managedFields"}
        outputs["metadata"] = {**kept, "uid": UNKNOWN, "resourceVersion": UNKNOWN, "creationTimestamp": UNKNOWN}
    if outputs.get("kind") == "Secret" and outputs.get("data") is not None and not isinstance(outputs["data"], Secret):
        outputs["data"] = Secret(outputs["data"])
    spec = outputs.get("spec")
    declared = plain(inputs).get("spec")
    if outputs.get("kind") == "Service" and isinstance(spec, dict) and isinstance(declared, dict):
        unset = {key: UNKNOWN for key in ("clusterIP", "clusterIPs") if key in spec and key not in declared}
        outputs["spec"] = {**spec, **unset}
    outputs["status"] = UNKNOWN
    return outputs


def _seconds(inputs: Object, given: float) -> float:
    """How long to wait: customTimeouts, the annotation, the default."""
    if given > 0:
        return given
    noted = annotation(inputs, _TIMEOUT)
    return float(noted) if noted and noted.isdigit() else DEFAULT_SECONDS
