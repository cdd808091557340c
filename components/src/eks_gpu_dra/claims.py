"""Claims as values: what a pod asks for, in Kubernetes' own spelling.

Pure: no Pulumi resource, no API call, so the same builder serves the component, a policy and a plain YAML file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eks_gpu_dra.device_classes import WHOLE_GPU, class_name

MOST_DEVICES = 32
"""The API allows one claim 32 allocated devices over all its requests."""
MOST_SELECTORS = 32
LONGEST_SELECTOR = 10 * 1024


@dataclass(frozen=True, kw_only=True)
class ClaimRequest:
    """One request of a claim: `count` devices of one class, narrowed by CEL selectors that must all hold."""

    name: str
    device_class: Any
    """Name of the DeviceClass. In a Pulumi program it may be an Output."""
    count: int = 1
    selectors: Sequence[str] = ()

    @classmethod
    def of_profile(cls, profile: str, *, count: int = 1, selectors: Sequence[str] = ()) -> "ClaimRequest":
        """A request for MIG devices of a profile, or for whole GPUs with the profile `gpu`."""
        return cls(
            name="gpu" if profile == WHOLE_GPU else "slice",
            device_class=class_name(profile),
            count=count,
            selectors=selectors,
        )

    def to_manifest(self) -> dict[str, Any]:
        """The entry of `spec.devices.requests`."""
        exactly: dict[str, Any] = {
            "deviceClassName": self.device_class,
            # What the API server would fill in, written out so that a manifest says all it means.
            "allocationMode": "ExactCount",
            "count": self.count,
        }
        if self.selectors:
            exactly["selectors"] = [{"cel": {"expression": expression}} for expression in self.selectors]
        return {"name": self.name, "exactly": exactly}


@dataclass(frozen=True, kw_only=True)
class GpuClaimTemplate:
    """One ResourceClaimTemplate: every pod that names it gets a claim of its own with these requests."""

    name: str
    namespace: Any
    """Namespace of the template. In a Pulumi program it may be an Output."""
    requests: Sequence[ClaimRequest]
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_manifest(self) -> dict[str, Any]:
        """The object as `kubectl apply` takes it."""
        return {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaimTemplate",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": dict(self.labels)},
            # The labels are on the claims too: a policy or a quota sees claims, not the template they came from.
            "spec": {
                "metadata": {"labels": dict(self.labels)},
                "spec": {"devices": {"requests": [request.to_manifest() for request in self.requests]}},
            },
        }
