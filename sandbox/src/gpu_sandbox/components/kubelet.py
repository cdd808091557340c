"""kubelet: the node agent, with its files under the sandbox's state directory and the real time-outs of DRA."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from gpu_sandbox.components.model import AllProbes, Component, ConfigFile, Context, Group, HttpProbe, api_probe
from gpu_sandbox.settings import CLUSTER_DOMAIN, NODE_IP, NODE_NAME


def component(context: Context) -> Component:
    config = context.paths.config / "kubelet.yaml"
    return Component(
        name="kubelet",
        group=Group.NODE,
        after=("kube-apiserver", "pause-image"),
        argv=(
            context.binary("kubelet"),
            f"--config={config}",
            f"--kubeconfig={context.kubeconfig('node')}",
            f"--root-dir={context.paths.kubelet}",
            f"--cert-dir={context.paths.kubelet}/pki",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE_IP}",
            f"--node-labels={','.join(f'{k}={v}' for k, v in node_labels(context).items())}",
        ),
        files=(
            ConfigFile(config, yaml.safe_dump(_config(context), sort_keys=False)),
            ConfigFile(_resolv_conf(context), f"# DNS of the sandbox's pods\nnameserver {NODE_IP}\n"),
        ),
        environment={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        ready=AllProbes(
            (
                HttpProbe("http://127.0.0.1:10248/healthz"),
                api_probe(f"/api/v1/nodes/{NODE_NAME}", _ready_since_boot(context.paths.boot_id)),
            )
        ),
        stop_seconds=10.0,
    )


def _ready_since_boot(boot_id: Path) -> Callable[[bytes], bool]:
    """Accepts a node that says of its present boot that it is ready; the API may still hold what it said before."""

    def accept(body: bytes) -> bool:
        status = json.loads(body).get("status", {})
        said = status.get("nodeInfo", {}).get("bootID")
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
        return ready and said == boot_id.read_text().strip()

    return accept


def node_labels(context: Context) -> dict[str, str]:
    """What a GPU node of EKS carries, and the mark that tells this one is simulated."""
    labels = {"nvidia.com/gpu.present": "true", "gpu-sandbox/simulated": "true"}
    if context.settings.product_name:
        labels["nvidia.com/gpu.product"] = context.settings.product_name.replace(" ", "-")
    return labels


def _resolv_conf(context: Context) -> Path:
    return context.paths.config / "resolv.conf"


def _config(context: Context) -> dict[str, Any]:
    paths, pki = context.paths, context.pki
    document: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": pki("kubelet.crt"),
        "tlsPrivateKeyFile": pki("kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "readOnlyPort": 0,
        "containerRuntimeEndpoint": f"unix://{paths.containerd_socket}",
        "podLogsDir": "/var/log/pods",  # the node's own /var/log, see gpu_sandbox.node
        "volumePluginDir": str(paths.kubelet / "volume-plugins"),
        "resolvConf": str(_resolv_conf(context)),
        "clusterDomain": CLUSTER_DOMAIN,
        # The node has a private control group namespace without systemd in it, on every kind of host.
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "failCgroupV1": False,
        "oomScoreAdj": 0,
        # A laptop's disk may be fairly full; neither evict pods nor collect images that cannot be pulled again.
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMaximumGCAge": "0s",
        "nodeStatusUpdateFrequency": "5s",
        # A pod whose claim could not be prepared is only tried again at the next sync, by default after a minute or more.
        "syncFrequency": "10s",
        "serializeImagePulls": False,
        "logging": {"verbosity": 1},
    }
    if context.settings.dns:
        document["clusterDNS"] = [NODE_IP]
    if not context.host.cgroup_v2:
        # On v1 the quality-of-service tree needs controllers that many hosts leave out.
        document |= {"cgroupsPerQOS": False, "enforceNodeAllocatable": []}
    return document
