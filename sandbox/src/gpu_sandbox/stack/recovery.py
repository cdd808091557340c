"""What an interrupted `pulumi` leaves in a file backend, and what has to be done before the next run.

Reads the backend's files; never changes them. Pulumi itself repairs what is found here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Leftovers:
    """`stale_locks`: lock files whose process is gone. `held_by`: the process that runs an update right now.
    `pending`: URNs of operations that were under way."""

    stale_locks: tuple[Path, ...]
    held_by: int | None
    pending: tuple[str, ...]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _alive(pid: int) -> bool:
    """Whether the process runs; one that has ended but is not collected by its parent yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def find_leftovers(backend: Path, project: str, stack: str) -> Leftovers:
    """Look at `<backend>/.pulumi` as version 3.250 writes it; an absent stack has no leftovers."""
    stale: list[Path] = []
    held_by = None
    for lock in sorted((backend / ".pulumi/locks").glob(f"**/{stack}/*.json")):
        content = _read(lock)
        pid = content.get("pid") if isinstance(content, dict) else None
        if isinstance(pid, int) and _alive(pid):
            held_by = pid
        else:
            stale.append(lock)
    checkpoint = _read(backend / ".pulumi/stacks" / project / f"{stack}.json")
    latest = (checkpoint or {}).get("checkpoint", {}).get("latest") or {}
    operations = latest.get("pending_operations") or []
    pending = tuple(operation.get("resource", {}).get("urn", "unnamed") for operation in operations)
    return Leftovers(tuple(stale), held_by, pending)
