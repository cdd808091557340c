"""Locks: one per GPU or claim inside this process, and one file lock between two driver processes of the same node.

Owns the order in which they are taken (the file, then the claim, then GPUs by UUID), so callers cannot deadlock. Guards
nothing by itself.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


class KeyedLocks:
    """A lock per name, made when first needed. Names are those of GPUs and live claims, so the table stays small."""

    def __init__(self) -> None:
        self._table_lock = threading.Lock()
        self._table: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def holding(self, names: Iterable[str]) -> Iterator[None]:
        """Holds the locks of all `names`, taken in sorted order."""
        with ExitStack() as stack:
            for name in sorted(set(names)):
                stack.enter_context(self._one(name))
            yield

    @contextmanager
    def _one(self, name: str) -> Iterator[None]:
        with self._table_lock:
            lock, users = self._table.get(name, (threading.Lock(), 0))
            self._table[name] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._table_lock:
                lock, users = self._table[name]
                if users == 1:
                    del self._table[name]
                else:
                    self._table[name] = (lock, users - 1)


class ProcessLock:
    """A lock on a file, shared by all threads of this process and exclusive between processes.

    During a rolling update two driver pods run on a node; only one may work on claims at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entered: Callable[[], None] = lambda: None
        self._users_lock = threading.Lock()
        self._users = 0
        self._descriptor = -1

    def on_entering(self, entered: Callable[[], None]) -> None:
        """From now on calls `entered` when this process gets the lock, to look at what the other one may have written."""
        self._entered = entered

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Waits for the other process if it holds the lock."""
        with self._users_lock:
            if self._users == 0:
                self._acquire()
            self._users += 1
        try:
            yield
        finally:
            with self._users_lock:
                self._users -= 1
                if self._users == 0:
                    os.close(self._descriptor)

    def _acquire(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self._entered()
        except BaseException:
            os.close(self._descriptor)
            raise
