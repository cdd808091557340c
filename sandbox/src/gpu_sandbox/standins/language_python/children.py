"""The processes the language host starts: programs, packs, plugins. Owns their ending; knows nothing of gRPC."""

import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

# A plugin answers SIGTERM at once; one that does not is stuck and would keep the engine waiting.
_GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class Chunk:
    """Bytes a child wrote."""

    stream: Literal["stdout", "stderr"]
    data: bytes


class Children:
    """Every live child of this host, so that leaving ends them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: set[subprocess.Popen[bytes]] = set()

    def run(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
        """Run to the end with this process's own stdout and stderr, which the engine shows; return the exit status."""
        process = subprocess.Popen(command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL)
        with self._lock:
            self._live.add(process)
        try:
            return process.wait()
        finally:
            self._forget(process)

    def start(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> "PipedChild":
        """Start with piped output."""
        process = subprocess.Popen(
            command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with self._lock:
            self._live.add(process)
        return PipedChild(process, self)

    def stop(self) -> None:
        """End every child: ask, wait a moment, insist."""
        with self._lock:
            live = list(self._live)
        for process in live:
            process.terminate()
        for process in live:
            _await_end(process)

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._live.discard(process)


class PipedChild:
    """A child whose output is read chunk by chunk as it comes."""

    def __init__(self, process: subprocess.Popen[bytes], children: Children) -> None:
        self._process = process
        self._children = children
        self._chunks: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        assert process.stdout is not None
        assert process.stderr is not None
        threading.Thread(target=self._read, args=("stdout", process.stdout), daemon=True).start()
        threading.Thread(target=self._read, args=("stderr", process.stderr), daemon=True).start()

    def output(self) -> Iterator[Chunk]:
        """Chunks until both streams have ended."""
        open_streams = 2
        while open_streams:
            chunk = self._chunks.get()
            if chunk is None:
                open_streams -= 1
            else:
                yield chunk

    def wait(self) -> int:
        """The exit status."""
        status = self._process.wait()
        self._children._forget(self._process)  # noqa: SLF001 - one pair of classes, one concern
        return status

    def stop(self) -> None:
        """Ask the child to end, then insist."""
        self._process.terminate()
        _await_end(self._process)

    def _read(self, stream: Literal["stdout", "stderr"], pipe: IO[bytes]) -> None:
        with pipe:
            while data := pipe.read1(65536):  # type: ignore[attr-defined]  # a pipe from Popen is buffered
                self._chunks.put(Chunk(stream, data))
        self._chunks.put(None)


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
