"""Writing a file so that a reader sees the old text or the new one, never half of it. Owns the temporary files it takes."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_atomically(path: Path, text: str, *, mode: int, durable: bool) -> None:
    """Replaces `path` by `text` through a temporary file beside it and a rename.

    `durable` flushes the text to disk before the rename, so a power cut leaves a whole file. The folder is not flushed: after a
    power cut every container is gone, and the older file that may then reappear is corrected when kubelet prepares again.
    The temporary name begins with a dot and ends in .tmp, so no reader of the folder takes it for a document.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fdatasync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path, name: str) -> None:
    """Removes temporary files that a crash left beside files called `name` (a glob pattern)."""
    for path in folder.glob(f".{name}.*.tmp"):
        path.unlink(missing_ok=True)
