"""What a sandbox is made of: the user's choices, the constants of its network and node, and the place of every file.

The choices live in `<state>/sandbox.json`; every other path hangs off the state directory, so removing that directory
removes the data. This module only names things: it starts nothing and touches no file but sandbox.json.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from gpu_sandbox.errors import SandboxError

STATE_DIR_ENV = "GPU_SANDBOX_STATE_DIR"
BIN_DIR_ENV = "GPU_SANDBOX_BIN"
DEFAULT_STATE_DIR = Path("/var/lib/gpu-sandbox")
DEFAULT_API_PORT = 6443
DEFAULT_BOARD = "a100-sxm4-40gb"
DEFAULT_GPUS = 8

NODE_NAME = "gpu-sandbox-0"
CLUSTER_DOMAIN = "cluster.local"

# Every sandbox owns a network namespace, so these are the same for all of them and clash with nothing outside.
BRIDGE = "gpusb0"
POD_SUBNET = "10.244.0.0/24"
NODE_IP = "10.244.0.1"  # the bridge's own address: gateway of the pods, address of the node, cluster DNS
SERVICE_SUBNET = "10.96.0.0/16"
KUBERNETES_SERVICE_IP = "10.96.0.1"
INNER_API_PORT = 6443  # of the API server inside the namespace; the host's port is the user's choice

# A Unix socket path holds 107 bytes, and the longest one under the state directory is a DRA driver's registration
# socket during a rolling update: /kubelet/plugins_registry/gpu.nvidia.com-<pod UID>-reg.sock, 86 bytes.
MAX_STATE_DIR_BYTES = 107 - 86


class Extent(enum.StrEnum):
    """How much of a cluster is started."""

    API = "api"  # etcd and the API server: enough to test what only talks to the API
    CLUSTER = "cluster"  # everything, with a node


class SettingsError(SandboxError):
    """sandbox.json cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The user's choices for one sandbox, plus the identity it got when it was created."""

    sandbox_id: str
    bin_dir: Path
    api_port: int = DEFAULT_API_PORT
    board: str = DEFAULT_BOARD
    product_name: str = ""
    gpus: int = DEFAULT_GPUS
    mig_enabled: bool = True
    extent: Extent = Extent.CLUSTER
    dns: bool = True

    def to_json(self) -> str:
        document = dataclasses.asdict(self) | {"bin_dir": str(self.bin_dir)}
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Settings:
        try:
            document = json.loads(text)
            known = {field.name for field in dataclasses.fields(cls)}
            values = {key: value for key, value in document.items() if key in known}
            values["bin_dir"] = Path(values["bin_dir"])
            values["extent"] = Extent(values["extent"])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SettingsError(f"not a sandbox's settings: {error!r}") from error


@dataclass(frozen=True)
class StatePaths:
    """Where each thing lies under one state directory."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / "sandbox.json"

    @property
    def lock(self) -> Path:
        """Held by the one command that changes the sandbox."""
        return self.root / "lock"

    @property
    def before_settings(self) -> frozenset[Path]:
        """What may lie in the directory before sandbox.json says whose it is."""
        return frozenset({self.lock, self.run})

    @property
    def kubeconfig(self) -> Path:
        """The admin's, for use from the host."""
        return self.root / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def kubeconfigs(self) -> Path:
        """One per component, for use inside the namespaces."""
        return self.root / "kubeconfigs"

    @property
    def config(self) -> Path:
        """Configuration files of the components, rewritten at every start."""
        return self.root / "config"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Sockets and other things that mean nothing after a stop."""
        return self.root / "run"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.run / "supervisor.lock"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def etcd(self) -> Path:
        return self.root / "etcd"

    @property
    def kubelet(self) -> Path:
        return self.root / "kubelet"

    @property
    def containerd(self) -> Path:
        return self.root / "containerd"

    @property
    def cni(self) -> Path:
        return self.root / "cni"

    @property
    def cdi(self) -> Path:
        return self.root / "cdi"

    @property
    def driver_root(self) -> Path:
        return self.root / "driver-root"

    @property
    def node(self) -> Path:
        """What the node sees in place of the host's files: its /var/log, its kernel settings, its boot id."""
        return self.root / "node"

    @property
    def kernel_settings(self) -> Path:
        """Files that the node finds under /proc/sys."""
        return self.node / "proc-sys"

    @property
    def boot_id(self) -> Path:
        return self.kernel_settings / "kernel" / "random" / "boot_id"

    def log(self, component: str) -> Path:
        return self.logs / f"{component}.log"


def state_dir_from_environment() -> Path:
    return Path(os.environ.get(STATE_DIR_ENV) or DEFAULT_STATE_DIR)


def new_sandbox_id() -> str:
    return secrets.token_hex(4)


def binaries() -> Path:
    """The directory of the cluster's binaries: GPU_SANDBOX_BIN, or where the toolchain puts what it built.

    Raises SettingsError, with what to do, if they are not built.
    """
    override = os.environ.get(BIN_DIR_ENV)
    if override:
        return Path(override)
    from gpu_sandbox import toolchain  # noqa: PLC0415  the toolchain's table is only read when it is asked

    try:
        return toolchain.bin_dir()
    except toolchain.NotBuiltError as error:
        raise SettingsError(str(error)) from error


def read_settings(paths: StatePaths) -> Settings | None:
    """The sandbox's settings, or None if there is no sandbox in this state directory.

    Raises SettingsError, with what to do, for a file that is there but unusable.
    """
    try:
        text = paths.settings.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return Settings.from_json(text)
    except SettingsError as error:
        raise SettingsError(f"{paths.settings}: {error}; run `sandbox down` to remove this sandbox") from error


def write_settings(paths: StatePaths, settings: Settings) -> None:
    """Replace sandbox.json in one step, so that a reader never sees half of it."""
    replacement = paths.settings.with_suffix(".new")
    replacement.write_text(settings.to_json())
    replacement.replace(paths.settings)
