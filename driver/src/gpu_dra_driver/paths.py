"""Paths of two worlds: a driver installation lies at one path on the host and at another in this container.

Owns the translation between the two and the resolution of symbolic links inside an installation, where an absolute link
means "from the root of the installation". Reads links; never changes anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_MAX_LINKS = 40  # as the kernel's own limit


def resolve_inside(root: Path, path: Path) -> Path | None:
    """`path` with every symbolic link followed as if `root` were /. None if nothing is there or a link leads nowhere."""
    try:
        pending = list(path.relative_to(root).parts)
    except ValueError:
        return None
    current, links = root, 0
    while pending:
        part = pending.pop(0)
        if part == "..":
            current = current.parent if current != root else root
            continue
        step = current / part
        if step.is_symlink():
            links += 1
            if links > _MAX_LINKS:
                return None
            target = step.readlink()
            if target.is_absolute():
                current, pending = root, [*target.parts[1:], *pending]
            else:
                pending = [*target.parts, *pending]
            continue
        current = step
    return current if current.exists() else None


@dataclass(frozen=True)
class Root:
    """A folder tree known by its path on the host and its path in this container."""

    host: Path
    ctr: Path

    def on_host(self, path: Path) -> str:
        """The host's path of `path`, which is given as this container sees it."""
        return str(self.host / path.relative_to(self.ctr))

    def in_workload(self, path: Path) -> str:
        """The path that a workload's container shall see: as under the root, with the root taken as /."""
        return "/" + str(path.relative_to(self.ctr))
