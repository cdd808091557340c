"""Events: the warnings worth telling. Pure."""

from collections.abc import Iterable
from typing import Any


def warnings(events: Iterable[dict[str, Any]]) -> list[str]:
    """One line per object and reason, the newest: a controller that tries again says the same of each new pod."""
    newest: dict[tuple[str, str], str] = {}
    for event in sorted(events, key=_time):
        if event.get("type") == "Warning":
            involved = event.get("involvedObject") or {}
            about = f"{involved.get('kind')} {involved.get('name')}"
            reason = event.get("reason") or ""
            newest[about, reason] = f"{about}: {reason}: {(event.get('message') or '').strip()}"
    return list(newest.values())


def _time(event: dict[str, Any]) -> str:
    # All RFC 3339 in UTC, so they sort as text. Which field is filled depends on who wrote the event.
    return event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or ""
