"""CDI specs: how the container runtime is told what a prepared claim puts into a container.

Owns one self-contained spec file per claim: building its document from the driver installation and the claim's devices, and
writing, finding and removing the files. Kind, file name, device names and ids are NVIDIA's, so claims prepared by either
driver are understood by the other. Never decides which claim may have which device.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gpu_dra_driver.discovery import DeviceNode, DeviceNodes, File, Installation, sockets
from gpu_dra_driver.files import remove_leftovers, write_atomically
from gpu_dra_driver.inventory import Device
from gpu_dra_driver.paths import Root

KIND = "k8s.gpu.nvidia.com/claim"
_PREFIX, _SUFFIX = "k8s.gpu.nvidia.com-claim_", ".yaml"
# The oldest version that knows hostPath of a device node and device names that begin with a digit, as claim UIDs may.
_CDI_VERSION = "0.5.0"
_FILE_OPTIONS = ["ro", "nosuid", "nodev", "rbind", "rprivate"]
_SOCKET_OPTIONS = ["nosuid", "nodev", "rbind", "rprivate", "noexec"]

Edits = dict[str, Any]


def device_id(claim_uid: str, device_name: str) -> str:
    """The fully qualified CDI name that kubelet passes to the runtime."""
    return f"{KIND}={claim_uid}-{device_name}"


class SpecBuilder:
    """Builds the documents; holds what is common to all of them."""

    def __init__(self, root: Root, installation: Installation, nodes: DeviceNodes) -> None:
        self._root = root
        self._nodes = nodes
        self._hooks = _hooks(installation)
        self._mounts = [
            _mount(file) for file in (*installation.libraries, *installation.binaries, *installation.firmware)
        ]
        if not self._hooks:
            self._mounts += _aliases(installation)

    def claim(self, claim_uid: str, devices: Iterable[Device]) -> dict[str, Any]:
        """The spec of one claim. Raises discovery.MissingDeviceError when a device's node or capability does not exist."""
        unique = {device.name: device for device in devices}
        return {
            "cdiVersion": _CDI_VERSION,
            "kind": KIND,
            "devices": [
                {"name": f"{claim_uid}-{name}", "containerEdits": self._device(device)}
                for name, device in sorted(unique.items())
            ],
            "containerEdits": self._shared(),
        }

    def _device(self, device: Device) -> Edits:
        nodes = [self._nodes.gpu(device.minor)]
        if device.partition is None:
            nodes += self._nodes.display(device.pci_bus_id)
        else:
            nodes += self._nodes.capabilities(device.minor, device.partition.gi_id, device.partition.ci_id)
        return {"deviceNodes": [_device_node(node) for node in nodes]}

    def _shared(self) -> Edits:
        edits: Edits = {
            # A runtime that injects GPUs by itself when it sees this variable must not add any to what the claim gives.
            "env": ["NVIDIA_VISIBLE_DEVICES=void"],
            "deviceNodes": [_device_node(node) for node in self._nodes.control()],
            "mounts": [*self._mounts, *(_mount(file, _SOCKET_OPTIONS) for file in sockets(self._root))],
        }
        if self._hooks:
            edits["hooks"] = self._hooks
        return {key: value for key, value in edits.items() if value}


def _mount(file: File, options: Sequence[str] = _FILE_OPTIONS) -> dict[str, Any]:
    return {"hostPath": file.host, "containerPath": file.container, "options": list(options)}


def _device_node(node: DeviceNode) -> dict[str, Any]:
    document = {"path": node.path, "type": "c", "major": node.major, "minor": node.minor, "permissions": "rw"}
    return document if node.host is None else {**document, "hostPath": node.host}


def _aliases(installation: Installation) -> list[dict[str, Any]]:
    """Each library once more under every name that links to it: without a hook, nothing can make links in the container."""
    by_path = {file.container: file for file in installation.libraries}
    result = []
    for link in installation.links:
        file = by_path.get(f"{link.path.rpartition('/')[0]}/{link.target}")
        if file is not None:
            result.append(_mount(File(file.host, link.path)))
    return result


def _hooks(installation: Installation) -> list[dict[str, Any]]:
    if installation.hook is None:
        return []
    folders = [argument for folder in installation.library_dirs for argument in ("--folder", folder)]
    links = [argument for link in installation.links for argument in ("--link", f"{link.target}::{link.path}")]
    calls = [
        ["create-symlinks", *links] if links else [],
        ["update-ldcache", *folders] if folders else [],
        ["disable-device-node-modification"],
    ]
    return [
        {"hookName": "createContainer", "path": installation.hook, "args": ["nvidia-cdi-hook", *call], "env": ["NVIDIA_CTK_DEBUG=false"]}
        for call in calls
        if call
    ]  # fmt: skip


class SpecFiles:
    """The folder of CDI specs, as far as it is ours."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ensure_folder(self) -> None:
        """Makes the folder; it lies on tmpfs on most nodes and is gone after a reboot."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o755)

    def path(self, claim_uid: str) -> Path:
        """Where the spec of this claim is written."""
        return self._folder / f"{_PREFIX}{claim_uid}{_SUFFIX}"

    def exists(self, claim_uid: str) -> bool:
        """Whether the claim's spec is there."""
        return self.path(claim_uid).exists()

    def write(self, claim_uid: str, document: dict[str, Any]) -> None:
        """Writes the spec. JSON is YAML, and the runtime parses it faster; not flushed, since a reboot writes it anew."""
        self.ensure_folder()
        write_atomically(self.path(claim_uid), json.dumps(document, indent=1) + "\n", mode=0o644, durable=False)

    def remove(self, claim_uid: str) -> None:
        """Removes the spec; one that is gone already is no error."""
        self.path(claim_uid).unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Removes what a crash left half written."""
        remove_leftovers(self._folder, f"{_PREFIX}*{_SUFFIX}")

    def claims(self) -> list[str]:
        """UIDs of all claims that have a spec here."""
        try:
            names = sorted(path.name for path in self._folder.iterdir())
        except FileNotFoundError:
            return []
        ours = (name for name in names if name.startswith(_PREFIX) and name.endswith(_SUFFIX))
        return [name[len(_PREFIX) : -len(_SUFFIX)] for name in ours]
