"""From a kubeconfig to a connection: file or text, context, credentials. Owns nothing that happens afterwards."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from gpu_sandbox.standins.kubernetes.settings import ProviderSettings


class KubeconfigError(ValueError):
    """No usable kubeconfig."""


@dataclass(frozen=True)
class Connection:
    """An open way to one API server."""

    http: httpx2.Client
    server: str
    namespace: str


def load_config(settings: ProviderSettings) -> SingleConfig:
    """The cluster, user and namespace the settings name. Raises KubeconfigError."""
    document, path = _document(settings.kubeconfig)
    where = str(path) if path else "the provider's kubeconfig input"
    if not isinstance(document, dict) or not document.get("clusters"):
        raise KubeconfigError(f"{where} is no kubeconfig: it names no clusters")
    try:
        config = KubeConfig.from_dict(document, fname=path).get(settings.context)
        assert config is not None
        if settings.cluster is not None:
            config = config._replace(cluster=KubeConfig.from_dict(document, fname=path).clusters[settings.cluster])
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        known = ", ".join(str(entry.get("name")) for entry in document.get("contexts") or []) or "none"
        raise KubeconfigError(f"{where}: {error}; contexts in it: {known}") from error
    # A context without a user is legal (an open port, a proxy); lightkube wants the field filled.
    return config._replace(user=config.user or User())


def connect(settings: ProviderSettings) -> Connection:
    """A connection by the settings; opens no socket yet. Raises KubeconfigError."""
    config = load_config(settings)
    parameters = ConnectionParams(timeout=httpx2.Timeout(30.0, connect=5.0), trust_env=True)
    try:
        http = Client(config, parameters)
    except (OSError, ConfigError, ValueError) as error:
        raise KubeconfigError(f"the credentials of context {config.context_name!r} cannot be used: {error}") from error
    return Connection(http, config.cluster.server, settings.namespace or config.context.namespace or "default")


def cluster_identity(settings: ProviderSettings) -> str | None:
    """What makes two kubeconfigs mean the same cluster: its address. None if it cannot be read."""
    try:
        return load_config(settings).cluster.server
    except KubeconfigError:
        return None


def is_kubeconfig_text(given: str) -> bool:
    """Whether a kubeconfig input is the document itself rather than the path of one."""
    return "\n" in given or given.lstrip().startswith("{")


def _document(given: str | None) -> tuple[Any, Path | None]:
    """A kubeconfig document and the file it came from: the input (text or path), else KUBECONFIG, else the user's."""
    if given is not None and is_kubeconfig_text(given):
        try:
            return yaml.safe_load(given), None
        except yaml.YAMLError as error:
            raise KubeconfigError(f"the provider's kubeconfig input is no YAML: {error}") from error
    named = given or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or "~/.kube/config"
    path = Path(named).expanduser()
    try:
        return yaml.safe_load(path.read_text()), path
    except OSError as error:
        raise KubeconfigError(
            f"cannot read the kubeconfig {path}: {error.strerror}; set the provider's `kubeconfig`, or KUBECONFIG"
        ) from error
    except yaml.YAMLError as error:
        raise KubeconfigError(f"{path} is no YAML: {error}") from error
