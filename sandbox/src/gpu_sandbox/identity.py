"""Tells the sandbox from every other cluster, so that nothing simulated is ever deployed anywhere else.

A kubeconfig is the sandbox's if it trusts this sandbox's own certificate authority, which no other cluster has, and
talks to this machine. Reads files; never talks to a cluster.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gpu_sandbox.errors import SandboxError
from gpu_sandbox.settings import SettingsError, StatePaths, read_settings, state_dir_from_environment


class NotTheSandboxError(SandboxError):
    """The kubeconfig leads to some other cluster, or there is no sandbox."""


@dataclass(frozen=True)
class Identity:
    """The sandbox a kubeconfig leads to."""

    sandbox_id: str
    state_dir: Path
    server: str


def require_sandbox(kubeconfig: str, state_dir: Path | None = None) -> Identity:
    """The identity of the sandbox that this kubeconfig text leads to, by its current context.

    `state_dir` defaults to $GPU_SANDBOX_STATE_DIR or /var/lib/gpu-sandbox. Raises NotTheSandboxError that lists
    everything that does not match.
    """
    paths = StatePaths(state_dir or state_dir_from_environment())
    try:
        settings = read_settings(paths)
    except SettingsError as error:
        raise NotTheSandboxError(str(error)) from error
    if settings is None:
        raise NotTheSandboxError(f"there is no sandbox in {paths.root}; start one with `sandbox up`")
    context, cluster = _current_cluster(kubeconfig)
    server = str(cluster.get("server", ""))
    problems = []
    url = urllib.parse.urlsplit(server)
    if not _is_loopback(url.hostname or ""):
        problems.append(f"its server {server or '(none)'} is not on this machine's loopback address")
    elif url.port != settings.api_port:
        problems.append(f"its server {server} is not on the sandbox's port {settings.api_port}")
    if _authority(cluster) != (paths.pki / "ca.crt").read_bytes().strip():
        problems.append(f"it does not trust the sandbox's certificate authority ({paths.pki / 'ca.crt'})")
    if problems:
        raise NotTheSandboxError(
            f"the kubeconfig's context {context!r} is not the sandbox in {paths.root}: {'; '.join(problems)}. "
            f"Nothing simulated is deployed to another cluster. Use the sandbox's own: export KUBECONFIG={paths.kubeconfig}"
        )
    return Identity(settings.sandbox_id, paths.root, server)


def _current_cluster(kubeconfig: str) -> tuple[str, dict[str, Any]]:
    try:
        document = yaml.safe_load(kubeconfig)
        context = document["current-context"]
        cluster_name = _named(document["contexts"], context)["context"]["cluster"]
        cluster: dict[str, Any] = _named(document["clusters"], cluster_name)["cluster"]
    except (yaml.YAMLError, KeyError, TypeError, StopIteration) as error:
        raise NotTheSandboxError("this is not a kubeconfig with a current context and its cluster") from error
    return str(context), cluster


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _authority(cluster: dict[str, Any]) -> bytes:
    try:
        if "certificate-authority-data" in cluster:
            return base64.b64decode(cluster["certificate-authority-data"], validate=True).strip()
        return Path(cluster["certificate-authority"]).read_bytes().strip()
    except (KeyError, OSError, TypeError, binascii.Error):
        return b""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
