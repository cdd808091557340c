"""What an interrupted `pulumi` leaves in a file backend, and what has to be done before the next run.

Pulumi itself repairs what `find_leftovers` finds. Only files torn by a kill in mid-write are mended here, because on those it
ends with no more than EOF: a checkpoint, from the copy that Pulumi keeps of the one before, and files of attributes.
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


def checkpoint_path(backend: Path, project: str, stack: str) -> Path:
    """The file with the stack's state, as version 3.250 names it."""
    return backend / ".pulumi/stacks" / project / f"{stack}.json"


def mend_checkpoint(backend: Path, project: str, stack: str) -> bool:
    """Put the last whole checkpoint in the place of a torn or missing one; True if that was done.

    The torn one is kept beside it. With no whole copy, a torn checkpoint is moved away, so that the stack starts anew. No
    update may be running.
    """
    for attributes in (backend / ".pulumi").glob("**/*.attrs"):
        if not isinstance(_read(attributes), dict):
            attributes.unlink()  # a cache of the content type, which Pulumi does without when there is none
    path = checkpoint_path(backend, project, stack)
    copy = path.with_name(f"{path.name}.bak")
    if isinstance(_read(path), dict) or not (path.exists() or copy.exists()):
        return False
    if path.exists():
        path.replace(path.with_name(f"{path.name}.torn"))
    if isinstance(_read(copy), dict):
        partial = path.with_name(f"{path.name}.partial")
        partial.write_bytes(copy.read_bytes())
        partial.replace(path)
    return True


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
    checkpoint = _read(checkpoint_path(backend, project, stack))
    latest = (checkpoint or {}).get("checkpoint", {}).get("latest") or {}
    operations = latest.get("pending_operations") or []
    pending = tuple(operation.get("resource", {}).get("urn", "unnamed") for operation in operations)
    return Leftovers(tuple(stale), held_by, pending)
