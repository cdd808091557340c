"""The cluster as data: every component, in what order they start, and what each one's configuration says."""

from __future__ import annotations

from gpu_sandbox.components import (
    cluster_objects,
    containerd,
    coredns,
    etcd,
    gateway,
    kube_apiserver,
    kube_controller_manager,
    kube_proxy,
    kube_scheduler,
    kubelet,
    pause_image,
)
from gpu_sandbox.components.model import Component, Context
from gpu_sandbox.settings import Extent, Settings

_API = (etcd, kube_apiserver, gateway, cluster_objects)
_REST = (kube_controller_manager, kube_scheduler, containerd, pause_image, kubelet, kube_proxy)

_PROGRAMS = {
    Extent.API: ("etcd", "kube-apiserver"),
    Extent.CLUSTER: (
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "containerd",
        "containerd-shim-runc-v2",
        "ctr",
        "kubelet",
        "kube-proxy",
    ),
}


def plan(context: Context) -> tuple[Component, ...]:
    """All components of this sandbox. Each names those it waits for; independent ones start at the same time."""
    settings = context.settings
    makers = _API if settings.extent is Extent.API else (*_API, *_REST, *((coredns,) if settings.dns else ()))
    components = tuple(maker.component(context) for maker in makers)
    check_graph(components)
    return components


def required_programs(settings: Settings) -> tuple[str, ...]:
    """What must lie in the directory of binaries for this extent."""
    with_dns = settings.extent is Extent.CLUSTER and settings.dns
    return (*_PROGRAMS[settings.extent], *(("coredns",) if with_dns else ()))


def check_graph(components: tuple[Component, ...]) -> None:
    """Raises ValueError if a component waits for one that is not there, or for itself in the end."""
    waiting = {component.name: set(component.after) for component in components}
    if len(waiting) != len(components):
        raise ValueError("two components have the same name")
    started: set[str] = set()
    while waiting:
        free = {name for name, after in waiting.items() if after <= started}
        if not free:
            raise ValueError(f"these components wait for something that never gets ready: {waiting}")
        started |= free
        waiting = {name: after for name, after in waiting.items() if name not in free}
