"""What a component of the cluster is: the program, its files, what must be ready before it, and how to tell it is ready.

Pure data. The graph of all components is built by `gpu_sandbox.components.plan`; starting, probing and restarting is
the supervisor's work.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpu_sandbox.settings import INNER_API_PORT, Settings, StatePaths


class Group(enum.StrEnum):
    """What goes down together."""

    CONTROL_PLANE = "control-plane"  # outlives a reboot of the node, as on EKS
    NODE = "node"


@dataclass(frozen=True)
class HostFacts:
    """What the host allows, as far as configuration depends on it."""

    cgroup_v2: bool
    can_lower_oom_score: bool  # CAP_SYS_RESOURCE is in the bounding set


@dataclass(frozen=True)
class Context:
    """Everything a component's configuration is computed from."""

    settings: Settings
    paths: StatePaths
    host: HostFacts

    def binary(self, name: str) -> str:
        return str(self.settings.bin_dir / name)

    def kubeconfig(self, client: str) -> str:
        return str(self.paths.kubeconfigs / f"{client}.yaml")

    def pki(self, file: str) -> str:
        return str(self.paths.pki / file)


def accept_any(_: bytes) -> bool:
    return True


@dataclass(frozen=True)
class HttpProbe:
    """Ready when a GET answers 200 with a body that `accept` takes.

    An https URL is verified against the sandbox's CA; `client` names the certificate to show.
    """

    url: str
    client: str = ""
    accept: Callable[[bytes], bool] = accept_any


@dataclass(frozen=True)
class SocketProbe:
    """Ready when something accepts connections on this Unix socket."""

    path: Path


@dataclass(frozen=True)
class ExitProbe:
    """A one-time step: ready when the program has ended with status 0."""


@dataclass(frozen=True)
class AllProbes:
    """Ready when all of them are, asked in this order."""

    probes: tuple[HttpProbe | SocketProbe, ...]


Probe = HttpProbe | SocketProbe | ExitProbe | AllProbes


@dataclass(frozen=True)
class ConfigFile:
    """A file the component reads, written before each start."""

    path: Path
    text: str
    mode: int = 0o644


@dataclass(frozen=True, kw_only=True)
class Component:
    """One program of the cluster."""

    name: str
    argv: Sequence[str]
    group: Group
    ready: Probe
    after: tuple[str, ...] = ()
    files: tuple[ConfigFile, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    takes_api_listener: bool = False  # gets the host's listening socket as file descriptor 3
    stop_seconds: float = 5.0

    @property
    def one_time(self) -> bool:
        return isinstance(self.ready, ExitProbe)


def api_probe(path: str, accept: Callable[[bytes], bool] = accept_any) -> HttpProbe:
    """A probe that asks the API server as the administrator."""
    return HttpProbe(f"https://127.0.0.1:{INNER_API_PORT}{path}", client="admin", accept=accept)
