"""What the engine asks of a resource, and the answers it can get: shared by objects and Helm releases."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gpu_sandbox.standins.kubernetes.difference import Difference
from gpu_sandbox.standins.kubernetes.tokens import GroupVersionKind
from gpu_sandbox.standins.kubernetes.values import Object


class RefusedError(Exception):
    """The API server refused, explained for the user."""


class InitFailedError(Exception):
    """The object is there, and is recorded, but does not work."""

    def __init__(self, object_id: str, outputs: Object, inputs: Object, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.object_id = object_id
        self.outputs = outputs
        self.inputs = inputs
        self.reasons = reasons


@dataclass(frozen=True)
class Report:
    """Where words about one resource go: the status line while waiting, and warnings that stay."""

    progress: Callable[[str], None]
    warn: Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """A live object as the engine records it."""

    object_id: str
    outputs: Object
    inputs: Object


class Lifecycle(Protocol):
    """One sort of resource. `seconds` is the user's customTimeouts, 0 if none."""

    def diff(self, token_kind: GroupVersionKind, object_id: str, old: Object, new: Object) -> Difference: ...

    def create(
        self, token_kind: GroupVersionKind, inputs: Object, *, seconds: float, preview: bool, report: Report
    ) -> Found: ...

    def read(self, token_kind: GroupVersionKind, object_id: str, inputs: Object, outputs: Object) -> Found | None: ...

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
    ) -> Found: ...

    def delete(
        self,
        token_kind: GroupVersionKind,
        object_id: str,
        inputs: Object,
        outputs: Object,
        *,
        seconds: float,
        report: Report,
    ) -> None: ...
