"""How commands on the host talk to the supervisor: one JSON line each way over a Unix socket in the state directory.

The kernel tells each side who the other is, so the caller learns the supervisor's process id without a file that could
be stale.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_sandbox.supervisor_plan import ComponentStatus, Overall, State

_TIMEOUT = 10.0


class NotRunning(Exception):  # noqa: N818  the expected answer when there is no sandbox, not a failure
    """No supervisor listens in this state directory."""


class Refused(Exception):  # noqa: N818
    """The supervisor cannot do what it was asked; the text says why."""


@dataclass(frozen=True)
class Report:
    """The supervisor's answer to `status`."""

    overall: Overall
    components: tuple[ComponentStatus, ...]
    started: float

    def component(self, name: str) -> ComponentStatus:
        return next(component for component in self.components if component.name == name)


def encode_report(report: Report) -> dict[str, Any]:
    return dataclasses.asdict(report)


def decode_report(document: dict[str, Any]) -> Report:
    components = tuple(
        ComponentStatus(**(entry | {"state": State(entry["state"])})) for entry in document["components"]
    )
    return Report(Overall(document["overall"]), components, document["started"])


def request(socket_path: Path, message: Mapping[str, str], timeout: float = _TIMEOUT) -> dict[str, Any]:
    """Send one request and return the answer. Raises NotRunning or Refused."""
    try:
        with _connect(socket_path, timeout) as connection:
            connection.sendall(json.dumps(dict(message)).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
    except (FileNotFoundError, NotADirectoryError, ConnectionError) as error:
        raise NotRunning(f"nothing listens on {socket_path}") from error
    except TimeoutError as error:
        raise Refused(f"the supervisor does not answer on {socket_path}") from error
    if not line:
        raise NotRunning(f"the supervisor on {socket_path} ended while it was asked")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise Refused(answer["error"])
    return answer


def status(socket_path: Path) -> Report:
    return decode_report(request(socket_path, {"command": "status"}))


def supervisor_pid(socket_path: Path) -> int:
    """The supervisor's process id as the caller's process namespace counts. Raises NotRunning."""
    try:
        with _connect(socket_path, _TIMEOUT) as connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError as error:
        raise NotRunning(f"nothing listens on {socket_path}") from error
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _connect(socket_path: Path, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(str(socket_path))
    except BaseException:
        connection.close()
        raise
    return connection
