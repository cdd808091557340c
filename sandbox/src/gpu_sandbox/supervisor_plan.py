"""What the supervisor decides, as pure functions: whether a component that ended is started again, and when.

Knows nothing of processes or clocks; the caller passes times in.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

MAX_FAILURES = 5
_FIRST_DELAY = 0.25
_LONGEST_DELAY = 10.0
# A component that ran this long was well; its next end is a new story.
_WELL_AFTER = 30.0


class State(enum.StrEnum):
    WAITING = "waiting"  # for components it needs
    STARTING = "starting"  # runs, not ready yet
    READY = "ready"
    DONE = "done"  # a one-time step that succeeded
    BACKOFF = "backoff"  # ended, will be started again
    FAILED = "failed"  # ended too often; started again only on request
    STOPPED = "stopped"


@dataclass(frozen=True)
class History:
    """What is remembered of one component."""

    failures: int = 0  # in a row
    restarts: int = 0  # in all


@dataclass(frozen=True)
class Restart:
    """Start again after `delay` seconds."""

    history: History
    delay: float


@dataclass(frozen=True)
class GiveUp:
    """Leave it, and report it."""

    history: History


def after_exit(history: History, *, ran_for: float, was_ready: bool) -> Restart | GiveUp:
    """The decision after a component ended by itself."""
    if was_ready and ran_for >= _WELL_AFTER:
        history = replace(history, failures=0)
    history = replace(history, failures=history.failures + 1)
    if history.failures >= MAX_FAILURES:
        return GiveUp(history)
    delay = min(_FIRST_DELAY * 2.0 ** (history.failures - 1), _LONGEST_DELAY)
    return Restart(replace(history, restarts=history.restarts + 1), delay)


@dataclass(frozen=True)
class ComponentStatus:
    """One component as the supervisor reports it."""

    name: str
    group: str
    state: State
    pid: int | None  # inside the sandbox's process namespace; None when it does not run
    restarts: int
    since: float  # seconds since the epoch at which the state was entered
    detail: str = ""  # why it is in backoff or failed


class Overall(enum.StrEnum):
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"


def overall(components: tuple[ComponentStatus, ...]) -> Overall:
    """The state of the whole: ready when all are, degraded when one was given up or stopped."""
    states = {component.state for component in components}
    if states & {State.FAILED, State.STOPPED}:
        return Overall.DEGRADED
    return Overall.READY if states <= {State.READY, State.DONE} else Overall.STARTING


def stop_order(names_with_needs: dict[str, tuple[str, ...]]) -> list[list[str]]:
    """Which components may be stopped together, in order: none before those that need it."""
    remaining = dict(names_with_needs)
    waves: list[list[str]] = []
    while remaining:
        needed = {need for needs in remaining.values() for need in needs}
        wave = [name for name in remaining if name not in needed]
        waves.append(wave)
        remaining = {name: needs for name, needs in remaining.items() if name not in wave}
    return waves
