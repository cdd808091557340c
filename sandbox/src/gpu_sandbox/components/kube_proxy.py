"""kube-proxy: makes services reachable, by iptables rules in the sandbox's own network namespace."""

from __future__ import annotations

import yaml

from gpu_sandbox.components.model import Component, ConfigFile, Context, Group, HttpProbe
from gpu_sandbox.settings import NODE_IP, NODE_NAME, POD_SUBNET


def component(context: Context) -> Component:
    config = context.paths.config / "kube-proxy.yaml"
    document = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "bindAddress": NODE_IP,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "hostnameOverride": NODE_NAME,
        "clusterCIDR": POD_SUBNET,
        "clientConnection": {"kubeconfig": context.kubeconfig("kube-proxy")},
        # Connection tracking limits belong to the host; a network namespace may not set them.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "100ms"},
        "oomScoreAdj": 0,
    }
    return Component(
        name="kube-proxy",
        group=Group.NODE,
        after=("kube-apiserver",),
        argv=(context.binary("kube-proxy"), f"--config={config}"),
        files=(ConfigFile(config, yaml.safe_dump(document, sort_keys=False)),),
        environment={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        ready=HttpProbe("http://127.0.0.1:10256/healthz"),
    )
