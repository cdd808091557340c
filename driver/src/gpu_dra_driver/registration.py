"""Registration: telling kubelet that this driver exists and where its socket is.

Owns the socket names (those of a rolling update too), the registration service, and the removal of sockets. It serves nothing
else: that the devices are published before kubelet hears of the driver is the order in which `driver` starts things.
"""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_dra_driver import DRIVER_NAME
from gpu_dra_driver._proto import pluginregistration_pb2 as messages
from gpu_dra_driver.grpc_services import service
from gpu_dra_driver.plugin import VERSIONS

log = logging.getLogger(__name__)

SERVICE = "pluginregistration.Registration"
_SUN_PATH_BYTES = 108  # of struct sockaddr_un, its closing zero byte included


class SocketPathError(ValueError):
    """A folder's path is so long that no socket fits into it."""


@dataclass(frozen=True)
class Sockets:
    """Where kubelet looks for the driver, and where it then talks to it."""

    registration: Path
    plugin: Path

    def remove(self) -> None:
        """Removes both; the registration first, so that kubelet sends nothing more."""
        self.registration.unlink(missing_ok=True)
        self.plugin.unlink(missing_ok=True)


def socket_paths(registrar_dir: Path, plugin_dir: Path, pod_uid: str) -> Sockets:
    """Fixed names, or names with the pod's UID so that two pods of a rolling update do not take each other's.

    A UID that would make the path too long for a unix socket is replaced by its hash. Raises SocketPathError when that is too long
    as well.
    """
    for part in (pod_uid, hashlib.sha256(pod_uid.encode()).hexdigest()[:12]) if pod_uid else ("",):
        names = (
            (f"{DRIVER_NAME}-{part}-reg.sock", f"dra-{part}.sock") if part else (f"{DRIVER_NAME}-reg.sock", "dra.sock")
        )
        sockets = Sockets(registrar_dir / names[0], plugin_dir / names[1])
        longest = max((sockets.registration, sockets.plugin), key=lambda path: len(str(path)))
        if len(bytes(longest)) < _SUN_PATH_BYTES:
            return sockets
    raise SocketPathError(
        f"{longest} is too long for a unix socket (at most {_SUN_PATH_BYTES - 1} bytes): use a shorter folder"
    )


def remove_dead(registrar_dir: Path, plugin_dir: Path) -> None:
    """Removes what killed drivers left behind: sockets of ours that nobody answers. Those of a living second pod stay."""
    for path in (*registrar_dir.glob(f"{DRIVER_NAME}*-reg.sock"), *plugin_dir.glob("dra*.sock")):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                log.info("removing %s, which a driver left behind", path)
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("cannot tell whether %s is in use: %s", path, error)


class Registration:
    """The service that kubelet calls on the registration socket. `refused` gets kubelet's reason when it will not have the driver."""

    def __init__(self, endpoint: Path, refused: Callable[[str], None]) -> None:
        self._endpoint = endpoint
        self._refused = refused

    def service(self) -> Any:
        """A handler for a gRPC server."""
        return service(
            SERVICE,
            {
                "GetInfo": (self._info, messages.InfoRequest, messages.PluginInfo),
                "NotifyRegistrationStatus": (
                    self._status,
                    messages.RegistrationStatus,
                    messages.RegistrationStatusResponse,
                ),
            },
        )

    def _info(self, _request: messages.InfoRequest, _context: object) -> messages.PluginInfo:
        return messages.PluginInfo(
            type="DRAPlugin", name=DRIVER_NAME, endpoint=str(self._endpoint), supported_versions=VERSIONS
        )

    def _status(self, request: messages.RegistrationStatus, _context: object) -> messages.RegistrationStatusResponse:
        if request.plugin_registered:
            log.info("registered with kubelet")
        else:
            self._refused(request.error)
        return messages.RegistrationStatusResponse()
