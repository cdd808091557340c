"""The outcome of looking at an object once."""

from dataclasses import dataclass
from enum import Enum
from typing import Any


class State(Enum):
    """Works, not yet, or never will."""

    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict:
    """A state and, unless ready, what is missing in the words of the cluster."""

    state: State
    reason: str = ""


READY = Verdict(State.READY)


def waiting(reason: str) -> Verdict:
    """Not yet, because."""
    return Verdict(State.WAITING, reason)


def failed(reason: str) -> Verdict:
    """Never will, because."""
    return Verdict(State.FAILED, reason)


def condition(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    """The status condition of a type, empty if absent."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry.get("type") == kind), {})


def observed(obj: dict[str, Any]) -> bool:
    """Whether the status speaks of the current spec and not of an older one."""
    generation = (obj.get("metadata") or {}).get("generation", 0)
    return bool((obj.get("status") or {}).get("observedGeneration", 0) >= generation)


def said(entry: dict[str, Any]) -> str:
    """Reason and message of a condition."""
    return ": ".join(text for text in (entry.get("reason"), entry.get("message")) if text)
