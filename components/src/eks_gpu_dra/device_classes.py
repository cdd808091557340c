"""DeviceClasses as values: what a cluster with certain boards offers, in Kubernetes' own spelling.

Owns the names of the classes and their CEL. Pure: no Pulumi resource, no API call.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eks_gpu_dra._boards import profiles_by_name
from gpu_catalog.boards import Profile

DRIVER_NAME = "gpu.nvidia.com"
"""NVIDIA's driver name, kept so that manifests written for NVIDIA's driver work unchanged."""

WHOLE_GPU = "gpu"
"""What stands for a whole GPU wherever a profile name is expected."""

LABEL_PREFIX = "eks-gpu-dra"


@dataclass(frozen=True, kw_only=True)
class GpuDeviceClass:
    """One DeviceClass: its name, the CEL that picks its devices, and what a reader wants to know about it."""

    name: str
    offers: str | None
    """The MIG profile, or `gpu`, that a claim names to get this class; None for NVIDIA's two, which any profile fits."""
    expression: str
    labels: Mapping[str, str] = field(default_factory=dict)
    extended_resource_name: str | None = None

    def to_manifest(self) -> dict[str, Any]:
        """The object as `kubectl apply` takes it."""
        spec: dict[str, Any] = {"selectors": [{"cel": {"expression": self.expression}}]}
        if self.extended_resource_name is not None:
            spec["extendedResourceName"] = self.extended_resource_name
        return {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "DeviceClass",
            "metadata": {"name": self.name, "labels": dict(self.labels)},
            "spec": spec,
        }


def class_name(profile: str) -> str:
    """The class of a MIG profile, or of `gpu`: `1g.5gb` is `mig-1g.5gb`, `1g.5gb+me` is `mig-1g.5gb.me`.

    The same names as the extended resources of NVIDIA's device plugin, without the vendor's domain; `+` may stand in
    neither.
    """
    return WHOLE_GPU if profile == WHOLE_GPU else "mig-" + profile.replace("+", ".")


def offered_classes(
    boards: Sequence[str],
    profiles: Sequence[str] | None = None,
    *,
    nvidia_names: bool,
    extended_resources: bool,
) -> tuple[GpuDeviceClass, ...]:
    """The menu of a cluster with these boards: a class per profile (or per chosen profile), the whole GPU, NVIDIA's two.

    Boards and profiles must be known to the catalogue. Only one class of each kind carries an extended resource name:
    the API server lets two classes share one and then takes the newer.
    """
    by_name = profiles_by_name(boards)
    classes = [
        GpuDeviceClass(
            name=WHOLE_GPU,
            offers=WHOLE_GPU,
            expression=_expression("gpu"),
            labels={**_OURS, f"{LABEL_PREFIX}/type": "gpu"},
            extended_resource_name="nvidia.com/gpu" if extended_resources else None,
        )
    ]
    for name, same_name in by_name.items():
        if profiles is None or name in profiles:
            classes.append(_profile_class(name, same_name, extended_resources=extended_resources))
    if nvidia_names:
        classes.append(GpuDeviceClass(name="gpu.nvidia.com", offers=None, expression=_expression("gpu"), labels=_OURS))
        classes.append(GpuDeviceClass(name="mig.nvidia.com", offers=None, expression=_expression("mig"), labels=_OURS))
    return tuple(classes)


_OURS = {"app.kubernetes.io/managed-by": "eks-gpu-dra"}


def _expression(device_type: str, profile: str | None = None) -> str:
    # `&&` stops at the driver's name, so the attribute look-ups never meet a device without that domain.
    terms = [f"device.driver == '{DRIVER_NAME}'", f"device.attributes['{DRIVER_NAME}'].type == '{device_type}'"]
    if profile is not None:
        terms.append(f"device.attributes['{DRIVER_NAME}'].profile == '{profile}'")
    return " && ".join(terms)


def _profile_class(name: str, same_name: Sequence[Profile], *, extended_resources: bool) -> GpuDeviceClass:
    resource = class_name(name)
    return GpuDeviceClass(
        name=resource,
        offers=name,
        expression=_expression("mig", name),
        labels={
            **_OURS,
            f"{LABEL_PREFIX}/type": "mig",
            f"{LABEL_PREFIX}/profile": resource.removeprefix("mig-"),
            # Boards differ by a few hundred MiB under one profile name: the least is what a claim can count on.
            f"{LABEL_PREFIX}/memory": f"{min(profile.memory_mib for profile in same_name)}Mi",
            f"{LABEL_PREFIX}/slices": str(same_name[0].slices),
        },
        extended_resource_name=f"nvidia.com/{resource}" if extended_resources else None,
    )
