"""The driver's settings: flags and environment variables in, one frozen value out.

Owns the names, defaults and checks of every input. Never touches a GPU, the API or a file other than to see that a path
the user named exists. All problems are reported at once, each with the name of the input that caused it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_POD_UID = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$")
_DNS_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")


class SettingsError(ValueError):
    """One or more settings are wrong; `problems` has one sentence per mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"  - {problem}" for problem in self.problems))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Checked settings. Paths ending in `_ctr` are read by this process; the others are host paths that go into CDI specs."""

    node_name: str
    driver_root: Path
    driver_root_ctr: Path
    dev_root: Path | None
    """Host path of the root that holds dev/; None: the driver root if it has dev/nvidiactl, else /."""
    proc_devices: Path
    proc_driver: Path
    sysfs: Path
    cdi_root: Path
    registrar_dir: Path
    plugins_dir: Path
    health_port: int | None
    metrics_address: tuple[str, int] | None
    metrics_path: str
    mig_config: str
    mig_config_file: Path | None
    kubeconfig: Path | None
    pod_uid: str
    log_level: str
    log_format: str


@dataclass(frozen=True)
class _Option:
    """One input: environment variable `env`, and the same name as a kebab-case flag."""

    env: str
    default: str
    parse: Callable[[str], Any]
    field: str
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.env.lower().replace("_", "-")


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def _existing_file(text: str) -> Path | None:
    if not text:
        return None
    path = _absolute(text)
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


def _optional_path(text: str) -> Path | None:
    return _absolute(text) if text else None


def _node_name(text: str) -> str:
    if not text:
        raise ValueError("must be set to the name of this node (from the downward API: spec.nodeName)")
    if len(text) > 253 or not _DNS_SUBDOMAIN.match(text):
        raise ValueError("is not a node name (lower-case letters, digits, '-' and '.')")
    return text


def _health_port(text: str) -> int | None:
    port = int(text) if re.fullmatch(r"-?\d+", text) else None
    if port is None or not -1 <= port <= 65535:
        raise ValueError("must be a port number from 0 (any free one) to 65535, or -1 to serve no health check")
    return None if port == -1 else port


def _listen_address(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT or :PORT, or empty to serve no metrics")
    return host.strip("[]"), int(port)


def _url_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("must begin with '/'")
    return text


def _pod_uid(text: str) -> str:
    if text and not _POD_UID.match(text):
        raise ValueError("is not a pod UID (from the downward API: metadata.uid)")
    return text


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text.lower()

    return parse


# Names follow NVIDIA's driver where it has the input, so a DaemonSet written for it needs no renaming.
_OPTIONS = (
    _Option("NODE_NAME", "", _node_name, "node_name", "name of the node this driver serves (required)"),
    _Option("NVIDIA_DRIVER_ROOT", "/", _absolute, "driver_root", "host path of the NVIDIA driver installation"),
    _Option("DRIVER_ROOT_CTR_PATH", "/driver-root", _absolute, "driver_root_ctr", "where that path is mounted in this container"),
    _Option("NVIDIA_DEV_ROOT", "", _optional_path, "dev_root", "host path of the root that holds dev/ (default: the driver root if it has dev/nvidiactl, else /)"),
    _Option("ALT_PROC_DEVICES_PATH", "/proc/devices", _absolute, "proc_devices", "file with the majors of character devices"),
    _Option("ALT_PROC_DRIVER_PATH", "/proc/driver/nvidia", _absolute, "proc_driver", "folder with the MIG capabilities of the kernel driver"),
    _Option("ALT_SYSFS_PATH", "/sys", _absolute, "sysfs", "sysfs, read for the NUMA node and PCIe root of each GPU"),
    _Option("CDI_ROOT", "/var/run/cdi", _absolute, "cdi_root", "folder for CDI specs; the container runtime must read it"),
    _Option("KUBELET_REGISTRAR_DIRECTORY_PATH", "/var/lib/kubelet/plugins_registry", _absolute, "registrar_dir", "folder that kubelet watches for registration sockets"),
    _Option("KUBELET_PLUGINS_DIRECTORY_PATH", "/var/lib/kubelet/plugins", _absolute, "plugins_dir", "folder for this driver's socket and checkpoint"),
    _Option("HEALTHCHECK_PORT", "51516", _health_port, "health_port", "TCP port of the gRPC health service; -1 for none"),
    _Option("HTTP_ENDPOINT", "", _listen_address, "metrics_address", "HOST:PORT on which metrics are served; empty for none"),
    _Option("METRICS_PATH", "/metrics", _url_path, "metrics_path", "URL path of the metrics"),
    _Option("MIG_CONFIG", "", str, "mig_config", "name of the MIG layout to apply; empty: publish the partitions as found"),
    _Option("MIG_CONFIG_FILE", "", _existing_file, "mig_config_file", "mig-parted v1 file that defines layouts (default: the built-in names)"),
    _Option("KUBECONFIG", "", _existing_file, "kubeconfig", "kubeconfig file (default: the pod's service account)"),
    _Option("POD_UID", "", _pod_uid, "pod_uid", "UID of this pod; set it to let two driver pods overlap during a rolling update"),
    _Option("LOG_LEVEL", "info", _one_of("debug", "info", "warning", "error"), "log_level", "debug, info, warning or error"),
    _Option("LOG_FORMAT", "text", _one_of("text", "json"), "log_format", "text or json, one line per event"),
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line. Every flag has a twin in the environment; a flag wins over its variable."""
    result = argparse.ArgumentParser(
        prog="gpu-dra-driver",
        description="Kubernetes DRA kubelet plugin for NVIDIA GPUs and MIG devices. Runs until SIGTERM.",
        epilog="Each flag can be given as an environment variable, named in brackets; the flag wins.",
        allow_abbrev=False,
    )
    for option in _OPTIONS:
        default = f", default {option.default}" if option.default else ""
        result.add_argument(option.flag, metavar="VALUE", default=None, help=f"{option.help} [{option.env}{default}]")
    return result


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Reads and checks every setting. Raises SettingsError with all problems; argparse handles --help and unknown flags."""
    given = vars(parser().parse_args(argv))
    values: dict[str, Any] = {}
    problems: list[str] = []
    for option in _OPTIONS:
        flag_value = given[option.flag[2:].replace("-", "_")]
        text = flag_value if flag_value is not None else environ.get(option.env, option.default)
        source = option.flag if flag_value is not None else option.env
        try:
            values[option.field] = option.parse(text.strip())
        except ValueError as error:
            problems.append(f"{source}={text!r} {error}")
    if values.get("mig_config_file") and not values.get("mig_config"):
        problems.append("MIG_CONFIG_FILE is set but MIG_CONFIG is not: name the layout to apply, or leave out the file")
    if problems:
        raise SettingsError(problems)
    return Settings(**values)
