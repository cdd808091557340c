"""Waiting for objects to work or to go, with progress for the user and reasons at the end.

Owns time and the look-ups a judgement needs (pods, events, endpoints). Polls rather than watches: one read a second
needs no re-listing after a dropped watch, and nothing here is decided faster than that.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpu_sandbox.standins.kubernetes.api import Api, ApiError
from gpu_sandbox.standins.kubernetes.readiness import others, pods, workloads
from gpu_sandbox.standins.kubernetes.readiness.events import warnings
from gpu_sandbox.standins.kubernetes.readiness.verdict import READY, State, Verdict
from gpu_sandbox.standins.kubernetes.tokens import GroupVersionKind, ObjectId

DEFAULT_SECONDS = 600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_POD = GroupVersionKind("", "v1", "Pod")
_EVENT = GroupVersionKind("", "v1", "Event")
_ENDPOINT_SLICE = GroupVersionKind("discovery.k8s.io", "v1", "EndpointSlice")
# More than this many reasons at once hide the first, which is usually the cause.
_MOST_REASONS = 5

_WORKLOADS: dict[tuple[str, str], Callable[[dict[str, Any]], Verdict]] = {
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "StatefulSet"): workloads.stateful_set,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("batch", "Job"): workloads.job,
}
# Kinds whose pods should be gone, with the devices they hold, before a deletion is reported.
_OWNERS_OF_PODS = frozenset({*_WORKLOADS, ("apps", "ReplicaSet"), ("batch", "CronJob")})


class NotReadyError(Exception):
    """An object exists but does not work. `reasons` are the cluster's."""

    def __init__(self, what: str, live: dict[str, Any], reasons: list[str]) -> None:
        super().__init__(f"{what}: {'; '.join(reasons)}")
        self.live = live
        self.reasons = [f"{what}: {reason}" for reason in reasons]


class StillThereError(Exception):
    """An object was not gone in time."""


@dataclass(frozen=True)
class Waiter:
    """Waits on one API server; `cancelled` ends every wait."""

    api: Api
    cancelled: threading.Event

    def judge(self, kind: GroupVersionKind, live: dict[str, Any]) -> Verdict:
        """Whether the object works now. Kinds without a judgement work as soon as they exist."""
        if judge := _WORKLOADS.get((kind.group, kind.kind)):
            return judge(live)
        if kind.group == "apiextensions.k8s.io" and kind.kind == "CustomResourceDefinition":
            return others.custom_resource_definition(live)
        if kind.group == "":
            namespace, name = live["metadata"].get("namespace", ""), live["metadata"]["name"]
            if kind.kind == "Pod":
                return pods.pod(live)
            if kind.kind == "Namespace":
                return others.namespace(live)
            if kind.kind == "Service":
                return others.service(
                    live, self.api.list(_ENDPOINT_SLICE, namespace, labelSelector=f"kubernetes.io/service-name={name}")
                )
            if kind.kind == "PersistentVolumeClaim":
                return others.persistent_volume_claim(live, self._events(live))
        return READY

    def until_ready(
        self,
        kind: GroupVersionKind,
        object_id: ObjectId,
        live: dict[str, Any],
        *,
        seconds: float,
        progress: Callable[[str], None],
    ) -> dict[str, Any]:
        """The object once it works. Raises NotReadyError when it fails, disappears, or does not work in time."""
        what = f"{kind.kind} {object_id}"
        deadline = time.monotonic() + seconds
        pause, told = _FIRST_PAUSE, ""
        while True:
            verdict = self.judge(kind, live)
            if verdict.state is State.READY:
                return live
            if verdict.state is State.FAILED:
                raise NotReadyError(what, live, [verdict.reason, *self.reasons(kind, live)])
            if time.monotonic() >= deadline or self.cancelled.wait(pause):
                ended = "cancelled" if self.cancelled.is_set() else f"not ready after {seconds:.0f} s"
                raise NotReadyError(what, live, [f"{ended}: {verdict.reason}", *self.reasons(kind, live)])
            if pause >= _LONGEST_PAUSE:
                text = "; ".join([verdict.reason, *self.reasons(kind, live)[:1]])
                if text != told:
                    progress(text)
                    told = text
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            found = self.api.get(kind, object_id)
            if found is None:
                raise NotReadyError(what, live, ["deleted by someone else while waiting for it"])
            live = found

    def until_gone(
        self,
        kind: GroupVersionKind,
        object_id: ObjectId,
        *,
        uid: str | None,
        seconds: float,
        progress: Callable[[str], None],
    ) -> None:
        """Return when the object, or the one with this uid, is no more. Raises StillThereError, naming finalizers."""
        deadline = time.monotonic() + seconds
        pause, told = _FIRST_PAUSE, ""
        while (live := self.api.get(kind, object_id)) is not None:
            if uid and live["metadata"].get("uid") != uid:
                return
            held = _holding(live)
            if time.monotonic() >= deadline or self.cancelled.wait(pause):
                ended = "cancelled" if self.cancelled.is_set() else f"not gone after {seconds:.0f} s"
                raise StillThereError(f"{kind.kind} {object_id}: {ended}; {held}")
            if pause >= _LONGEST_PAUSE and held != told:
                progress(held)
                told = held
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def reasons(self, kind: GroupVersionKind, live: dict[str, Any]) -> list[str]:
        """What the cluster says about why the object does not work: its pods' state, then warnings about both.

        Advice only, so a refused look-up (a user who may not read events) leaves it out rather than hide the failure.
        """
        try:
            mine = self._pods(kind, live)
            found = [f"Pod {entry['metadata']['name']}: {text}" for entry in mine for text in pods.problems(entry)]
            if not found:
                found = warnings(event for owner in [*mine, live] for event in self._events(owner))
        except ApiError:
            return []
        return list(dict.fromkeys(found))[:_MOST_REASONS]

    def _pods(self, kind: GroupVersionKind, live: dict[str, Any]) -> list[dict[str, Any]]:
        if (kind.group, kind.kind) not in _WORKLOADS:
            return []
        labels = ((live.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        if not labels:
            return []
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        return self.api.list(_POD, live["metadata"]["namespace"], labelSelector=selector)

    def _events(self, owner: dict[str, Any]) -> list[dict[str, Any]]:
        metadata = owner["metadata"]
        field = f"involvedObject.uid={metadata.get('uid', '')}"
        return self.api.list(_EVENT, metadata.get("namespace") or "default", fieldSelector=field)


def propagation(kind: GroupVersionKind) -> str:
    """How deletion spreads unless the user says otherwise."""
    return "Foreground" if (kind.group, kind.kind) in _OWNERS_OF_PODS else "Background"


def _holding(live: dict[str, Any]) -> str:
    finalizers = [*(live["metadata"].get("finalizers") or []), *((live.get("spec") or {}).get("finalizers") or [])]
    conditions = (live.get("status") or {}).get("conditions") or []
    remaining = [entry["message"] for entry in conditions if entry.get("status") == "True" and entry.get("message")]
    text = f"held by finalizers {', '.join(finalizers)}" if finalizers else "being deleted"
    # Only a namespace's conditions say what is left in it.
    return "; ".join([text, *remaining]) if live.get("kind") == "Namespace" else text
