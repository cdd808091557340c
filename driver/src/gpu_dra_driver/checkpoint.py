"""The checkpoint: which claims this node has prepared, or has begun to, written so that it survives any crash.

Owns the file's format and its writing: a version, a checksum, one record per claim. Intent is written before an effect and the
result after it. It never decides what a record means; `state` does, and `recovery` rebuilds a file that cannot be trusted.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from gpu_dra_driver.files import remove_leftovers, write_atomically

FORMAT_VERSION = 1


class Phase(StrEnum):
    """How far a claim got: the intent is on disk, or the effects are complete."""

    STARTED = "PrepareStarted"
    COMPLETED = "PrepareCompleted"


@dataclass(frozen=True)
class PreparedDevice:
    """One device of a claim, as allocated and as prepared. `uuid` is what the device was when it was prepared."""

    request: str
    pool: str
    name: str
    kind: str
    uuid: str
    gpu_uuid: str
    admin: bool = False
    share_id: str | None = None


@dataclass(frozen=True)
class ClaimRecord:
    """A claim on this node. `boot_id` is the boot in which its effects were made; another one means they are gone."""

    uid: str
    namespace: str
    name: str
    phase: Phase
    boot_id: str
    devices: tuple[PreparedDevice, ...]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.uid}"


class CorruptCheckpointError(Exception):
    """The file is there but cannot be trusted."""


def encode(boot_id: str, claims: Mapping[str, str]) -> str:
    """The file's text, from each claim's record as JSON: one line per claim, so that a diff shows what changed."""
    ordered = dict(sorted(claims.items()))
    lines = ",\n".join(f"  {json.dumps(uid)}: {document}" for uid, document in ordered.items())
    body = f'"nodeBootID": {json.dumps(boot_id)},\n "preparedClaims": {{\n{lines}\n }}'
    return f'{{"version": {FORMAT_VERSION}, "checksum": "{_checksum(boot_id, ordered)}",\n {body}}}\n'


def decode(text: str) -> dict[str, ClaimRecord]:
    """Records of a file's text. Raises CorruptCheckpointError with the reason."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or "version" not in document:
            raise CorruptCheckpointError("it was not written by this driver")
        if document["version"] != FORMAT_VERSION:
            raise CorruptCheckpointError(
                f"its format version is {document['version']!r}, this driver reads {FORMAT_VERSION}"
            )
        claims = {uid: _compact(claim) for uid, claim in sorted(document["preparedClaims"].items())}
        if _checksum(document["nodeBootID"], claims) != document["checksum"]:
            raise CorruptCheckpointError("checkpoint failed checksum verification")
        return {uid: _decode_record(claim) for uid, claim in document["preparedClaims"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptCheckpointError(f"it is not a checkpoint: {error}") from error


def encode_record(record: ClaimRecord) -> str:
    """A record as it stands in the file."""
    return _compact(asdict(record))


def _compact(claim: Mapping[str, Any]) -> str:
    return json.dumps(claim, separators=(",", ":"))


def _checksum(boot_id: str, claims: Mapping[str, str]) -> str:
    text = boot_id + "".join(f"\n{uid}={claim}" for uid, claim in claims.items())
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _decode_record(claim: Mapping[str, Any]) -> ClaimRecord:
    devices = tuple(PreparedDevice(**device) for device in claim["devices"])
    return ClaimRecord(**{**claim, "phase": Phase(claim["phase"]), "devices": devices})


class Checkpoint:
    """The records in memory and on disk. A change has reached the disk when the method that made it returns.

    Concurrent changes share one write: whoever gets to write first writes everybody's, and the others find theirs done. So a
    burst of claims costs a few flushes of the disk, not two each.
    """

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._records: dict[str, ClaimRecord] = {}
        self._documents: dict[str, str] = {}
        self._records_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._changes = 0
        self._written = 0
        self._signature: tuple[int, int, int] | None = None

    def load(self) -> None:
        """Reads the file; none means no claims. Raises CorruptCheckpointError, OSError."""
        remove_leftovers(self._path.parent, self._path.name)
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        except UnicodeDecodeError as error:
            raise CorruptCheckpointError(f"it is not text: {error}") from error
        records = decode(text) if text else {}
        if not text and self._path.exists():
            raise CorruptCheckpointError("it is empty")
        with self._records_lock:
            self._records = records
            self._documents = {uid: encode_record(record) for uid, record in records.items()}
            self._signature = self._sign()

    def exists(self) -> bool:
        """Whether there is a file."""
        return self._path.exists()

    def load_if_changed(self) -> None:
        """Reads the file again when another process has written it."""
        if self._sign() != self._signature:
            self.load()

    def quarantine(self) -> Path:
        """Moves a file that cannot be trusted aside, keeping it for a person to look at."""
        aside = self._path.with_name(f"{self._path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        self._path.replace(aside)
        return aside

    def get(self, uid: str) -> ClaimRecord | None:
        """The claim's record, if it has one."""
        with self._records_lock:
            return self._records.get(uid)

    def records(self) -> tuple[ClaimRecord, ...]:
        """All records."""
        with self._records_lock:
            return tuple(self._records.values())

    def put(self, *records: ClaimRecord) -> None:
        """Writes or replaces records."""
        with self._records_lock:
            self._records.update({record.uid: record for record in records})
            self._documents.update({record.uid: encode_record(record) for record in records})
            self._changes += 1
            mine = self._changes
        self._flush(mine)

    def delete(self, uid: str) -> None:
        """Removes a record; an unknown one is no error."""
        with self._records_lock:
            if self._records.pop(uid, None) is None:
                return
            del self._documents[uid]
            self._changes += 1
            mine = self._changes
        self._flush(mine)

    def _flush(self, mine: int) -> None:
        with self._write_lock:
            if self._written >= mine:
                return
            with self._records_lock:
                documents, latest = dict(self._documents), self._changes
            write_atomically(self._path, encode(self._boot_id, documents), mode=0o600, durable=True)
            self._signature = self._sign()
            self._written = latest

    def _sign(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def read_boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Identifies the current boot of the machine; the kernel makes a new one at every boot."""
    return path.read_text(encoding="ascii").strip()
