"""Claims: what the API says that a claim was given, and what its configuration asks of the devices.

Owns reading a ResourceClaim into the few values that preparing needs, and the rules for opaque configuration: strict
decoding, precedence, and refusal of what this version cannot do. Takes values and returns values; calls nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpu_dra_driver import DRIVER_NAME

CONFIG_API_VERSION = "resource.nvidia.com/v1beta1"
# Kind of configuration -> type of device it applies to.
_KINDS = {"GpuConfig": "gpu", "MigDeviceConfig": "mig", "VfioDeviceConfig": "vfio"}
_FIELDS = {"GpuConfig": {"sharing"}, "MigDeviceConfig": {"sharing"}, "VfioDeviceConfig": {"iommu"}}


Config = Mapping[str, Any]
"""The object under `parameters`, decoded and checked."""


class ConfigError(Exception):
    """A claim's configuration for this driver cannot be applied."""


@dataclass(frozen=True)
class ClaimRef:
    """A claim as kubelet names it."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.uid}"


@dataclass(frozen=True)
class Result:
    """One allocated device. `request` is as in the allocation: `main/sub` for a prioritised alternative."""

    request: str
    driver: str
    pool: str
    device: str
    admin: bool
    share_id: str | None


@dataclass(frozen=True)
class OpaqueConfig:
    """Configuration of some driver; `requests` empty means all requests."""

    requests: tuple[str, ...]
    driver: str
    parameters: Any


@dataclass(frozen=True)
class Claim:
    """An allocated claim. Configurations are in the API's order: those of the class first, then the claim's own."""

    uid: str
    namespace: str
    name: str
    results: tuple[Result, ...]
    configs: tuple[OpaqueConfig, ...]
    allocated: bool

    def ours(self, pool: str) -> tuple[Result, ...]:
        """The devices of this driver on this node."""
        return tuple(result for result in self.results if result.driver == DRIVER_NAME and result.pool == pool)


def check_configs(configs: Sequence[OpaqueConfig], kinds: Iterable[tuple[str, str]]) -> None:
    """Decodes this driver's configurations and finds for each request the one that applies.

    `kinds` has each request of ours with the type of its device. Raises ConfigError for the first configuration that is malformed, does
    not fit its device, or asks for something this version does not do: a setting that is ignored would be worse than an error.
    """
    decoded: list[tuple[Sequence[str], Config]] = [
        (config.requests, _decode(config.parameters)) for config in configs if config.driver == DRIVER_NAME
    ]
    for request, kind in kinds:
        chosen = _config_for(request, kind, decoded)
        if chosen is not None and chosen.get("sharing") is not None:
            strategy = chosen["sharing"].get("strategy")
            raise ConfigError(
                f"sharing strategy {strategy!r} for request {request!r} is not supported yet by this version of the driver"
            )


def _config_for(request: str, kind: str, decoded: Sequence[tuple[Sequence[str], Config]]) -> Config | None:
    # The last match wins: a claim's own configuration comes after its class's, and there is no merging.
    for requests, config in reversed(decoded):
        applies_to = _KINDS[config["kind"]]
        if requests:
            if _names(requests, request):
                if applies_to != kind:
                    raise ConfigError(
                        f"cannot apply {config['kind']} to request {request!r}, whose device is of type {kind!r}"
                    )
                return config
            continue
        if applies_to == kind:
            return config
    return None


def _names(requests: Iterable[str], request: str) -> bool:
    """Whether a configuration for these requests is for `request`; one for `main` is for all its alternatives `main/…`."""
    return any(request == each or request.startswith(f"{each}/") for each in requests)


def _decode(parameters: Any) -> Config:
    prefix = "error decoding config parameters"
    if not isinstance(parameters, Mapping):
        raise ConfigError(f"{prefix}: expected an object, got {type(parameters).__name__}")
    version, kind = parameters.get("apiVersion"), parameters.get("kind")
    if version != CONFIG_API_VERSION or kind not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise ConfigError(
            f"{prefix}: no kind {kind!r} is registered for version {version!r} (known in {CONFIG_API_VERSION}: {known})"
        )
    unknown = sorted(parameters.keys() - _FIELDS[kind] - {"apiVersion", "kind"})
    if unknown:
        fields = ", ".join(f'unknown field "{name}"' for name in unknown)
        raise ConfigError(f"{prefix}: strict decoding error: {fields}")
    if kind == "VfioDeviceConfig":
        raise ConfigError("VfioDeviceConfig is not supported by this driver: it offers no passthrough devices")
    sharing = parameters.get("sharing")
    if sharing is not None:
        if not isinstance(sharing, Mapping):
            raise ConfigError(f"{prefix}: sharing must be an object")
        extra = sorted(sharing.keys() - {"strategy", "timeSlicingConfig", "mpsConfig"})
        if extra:
            fields = ", ".join(f'unknown field "sharing.{name}"' for name in extra)
            raise ConfigError(f"{prefix}: strict decoding error: {fields}")
    return parameters
