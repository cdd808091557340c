"""Service, volume claims and volumes, CustomResourceDefinition, Namespace. Pure."""

from collections.abc import Sequence
from typing import Any

from gpu_sandbox.standins.kubernetes.readiness.verdict import READY, Verdict, condition, failed, said, waiting


def service(obj: dict[str, Any], slices: Sequence[dict[str, Any]]) -> Verdict:
    """Something answers behind it, and a load balancer has its address.

    Without a selector somebody else makes the endpoints, and a headless service is a name and no address: both are done
    when they exist.
    """
    spec = obj.get("spec") or {}
    if spec.get("type") == "ExternalName" or not spec.get("selector") or spec.get("clusterIP") == "None":
        return READY
    endpoints = [endpoint for entry in slices for endpoint in entry.get("endpoints") or []]
    if not any((endpoint.get("conditions") or {}).get("ready", True) for endpoint in endpoints):
        selector = ",".join(f"{key}={value}" for key, value in sorted(spec["selector"].items()))
        return waiting(f"no ready pod matches its selector {selector}")
    ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress")
    if spec.get("type") == "LoadBalancer" and not ingress:
        return waiting("its load balancer has no address yet")
    return READY


def persistent_volume_claim(obj: dict[str, Any], events: Sequence[dict[str, Any]]) -> Verdict:
    """Bound, or waiting for its first pod on purpose."""
    phase = (obj.get("status") or {}).get("phase")
    if phase == "Bound" or any(event.get("reason") == "WaitForFirstConsumer" for event in events):
        return READY
    return failed("its volume is lost") if phase == "Lost" else waiting(f"phase {phase or 'Pending'}")


def custom_resource_definition(obj: dict[str, Any]) -> Verdict:
    """Established: objects of the new kind are accepted."""
    if condition(obj, "Established").get("status") == "True":
        return READY
    names = condition(obj, "NamesAccepted")
    return failed(said(names)) if names.get("status") == "False" else waiting("its kind is not served yet")


def namespace(obj: dict[str, Any]) -> Verdict:
    """Active."""
    phase = (obj.get("status") or {}).get("phase", "Active")
    return (
        READY if phase == "Active" else failed(f"it is {phase}: an older namespace of that name is still being deleted")
    )
