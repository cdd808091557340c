"""The DaemonSet of the driver: one pod per GPU node, in Kubernetes' own spelling. Never a Pulumi resource.

Two mounts are at the same path inside the container as on the host: kubelet is told the path of the driver's socket,
and the container runtime reads the CDI folder, so a path that differs inside would point nowhere outside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from eks_gpu_dra._args import joined
from eks_gpu_dra.device_classes import DRIVER_NAME

HEALTH_PORT = 51516
DRIVER_ROOT_IN_CONTAINER = "/driver-root"
MIG_CONFIG_DIRECTORY = "/etc/gpu-dra-driver"
MIG_CONFIG_KEY = "mig-parted.yaml"
COMPONENT_LABEL = "dra-driver-nvidia-gpu-component"


@dataclass(frozen=True, kw_only=True)
class DriverPod:
    """Everything that shapes the driver's pod. Values may be Outputs; all were checked before."""

    image: pulumi.Input[str]
    image_pull_policy: pulumi.Input[str]
    service_account: str
    kubelet_root: pulumi.Input[str]
    driver_root: pulumi.Input[str]
    dev_root: pulumi.Input[str] | None
    cdi_root: pulumi.Input[str]
    mig_config: pulumi.Input[str] | None
    mig_config_map: pulumi.Input[str] | None
    alt_proc_devices_path: pulumi.Input[str] | None
    alt_proc_driver_path: pulumi.Input[str] | None
    alt_sysfs_path: pulumi.Input[str] | None
    node_selector: pulumi.Input[Mapping[str, Any]]
    tolerations: pulumi.Input[Sequence[Mapping[str, Any]]]
    log_level: pulumi.Input[str]


def pod_labels(instance: pulumi.Input[str]) -> dict[str, pulumi.Input[str]]:
    """Labels that never change: a DaemonSet's selector is immutable."""
    return {
        "app.kubernetes.io/name": "gpu-dra-driver",
        "app.kubernetes.io/instance": instance,
        # The label that tests and run books written for NVIDIA's driver select on.
        COMPONENT_LABEL: "kubelet-plugin",
    }


def daemon_set_spec(pod: DriverPod, instance: pulumi.Input[str]) -> dict[str, Any]:
    """The DaemonSet's spec."""
    return {
        "selector": {"matchLabels": pod_labels(instance)},
        # The new driver comes up beside the old one and takes over through its own sockets, so no prepare call fails
        # in between; kubelet empties the pool of a node whose driver is away for 30 seconds.
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": {
                "labels": pod_labels(instance),
                "annotations": {"kubectl.kubernetes.io/default-container": "gpu-dra-driver"},
            },
            "spec": {
                "serviceAccountName": pod.service_account,
                "automountServiceAccountToken": True,
                "enableServiceLinks": False,
                # Without the driver no GPU pod starts or ends on the node, so it must outlive them under pressure.
                "priorityClassName": "system-node-critical",
                "nodeSelector": pod.node_selector,
                "tolerations": pod.tolerations,
                "terminationGracePeriodSeconds": 30,
                "containers": [_container(pod)],
                "volumes": _volumes(pod),
            },
        },
    }


def _container(pod: DriverPod) -> dict[str, Any]:
    probe = {"grpc": {"port": HEALTH_PORT, "service": "liveness"}}
    return {
        "name": "gpu-dra-driver",
        "image": pod.image,
        "imagePullPolicy": pod.image_pull_policy,
        "env": _environment(pod),
        "ports": [{"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"}],
        # Ten minutes to start: the NVIDIA kernel driver may still be loading on a node that has just booted.
        "startupProbe": {**probe, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 600},
        "livenessProbe": {**probe, "periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 3},
        # Enough to be scheduled anywhere and no limit: a driver throttled or killed for memory holds up every GPU pod.
        "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}},
        "securityContext": {
            # Privileged, for what no capability grants to a container:
            # - opening /dev/nvidia* and, to create GPU and compute instances, the MIG capability nodes under
            #   /dev/nvidia-caps: the device cgroup of an unprivileged container forbids them, and the nodes of
            #   partitions yet to be made cannot be listed when the pod starts;
            # - reading /proc/driver/nvidia/capabilities, by which NVML proves the right to change MIG.
            "privileged": True,
            # Root, whatever user the image names: kubelet's plugin folders and the CDI folder belong to root.
            "runAsUser": 0,
            "runAsGroup": 0,
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": _volume_mounts(pod),
    }


def _environment(pod: DriverPod) -> list[dict[str, Any]]:
    values: dict[str, pulumi.Input[str] | None] = {
        "NVIDIA_DRIVER_ROOT": pod.driver_root,
        "DRIVER_ROOT_CTR_PATH": DRIVER_ROOT_IN_CONTAINER,
        "NVIDIA_DEV_ROOT": pod.dev_root,
        "CDI_ROOT": pod.cdi_root,
        "KUBELET_REGISTRAR_DIRECTORY_PATH": joined(pod.kubelet_root, "/plugins_registry"),
        "KUBELET_PLUGINS_DIRECTORY_PATH": joined(pod.kubelet_root, "/plugins"),
        "ALT_PROC_DEVICES_PATH": pod.alt_proc_devices_path,
        "ALT_PROC_DRIVER_PATH": pod.alt_proc_driver_path,
        "ALT_SYSFS_PATH": pod.alt_sysfs_path,
        "MIG_CONFIG": pod.mig_config,
        "MIG_CONFIG_FILE": f"{MIG_CONFIG_DIRECTORY}/{MIG_CONFIG_KEY}" if pod.mig_config_map is not None else None,
        "HEALTHCHECK_PORT": str(HEALTH_PORT),
        "LOG_LEVEL": pod.log_level,
        # An NVIDIA container runtime that is the node's default would otherwise inject every GPU by itself.
        "NVIDIA_VISIBLE_DEVICES": "void",
    }
    return [
        {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        *({"name": name, "value": value} for name, value in values.items() if value is not None),
    ]


def _volumes(pod: DriverPod) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        # Must exist: a kubelet_root that is not kubelet's would otherwise be made, and nobody would ever register.
        {
            "name": "plugins-registry",
            "hostPath": {"path": joined(pod.kubelet_root, "/plugins_registry"), "type": "Directory"},
        },
        # Only this driver's folder of kubelet's plugins: socket, lock and checkpoint.
        {
            "name": "plugin",
            "hostPath": {"path": joined(pod.kubelet_root, f"/plugins/{DRIVER_NAME}"), "type": "DirectoryOrCreate"},
        },
        {"name": "cdi", "hostPath": {"path": pod.cdi_root, "type": "DirectoryOrCreate"}},
        {"name": "driver-root", "hostPath": {"path": pod.driver_root, "type": "Directory"}},
    ]
    if pod.mig_config_map is not None:
        volumes.append({"name": "mig-config", "configMap": {"name": pod.mig_config_map}})
    return volumes


def _volume_mounts(pod: DriverPod) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "plugins-registry", "mountPath": joined(pod.kubelet_root, "/plugins_registry")},
        {"name": "plugin", "mountPath": joined(pod.kubelet_root, f"/plugins/{DRIVER_NAME}")},
        {"name": "cdi", "mountPath": pod.cdi_root},
        # HostToContainer: a driver that is itself installed by a container is mounted there after this pod has started.
        # Writable: making a MIG device makes its capability node under the root's dev.
        {"name": "driver-root", "mountPath": DRIVER_ROOT_IN_CONTAINER, "mountPropagation": "HostToContainer"},
    ]
    if pod.mig_config_map is not None:
        mounts.append({"name": "mig-config", "mountPath": MIG_CONFIG_DIRECTORY, "readOnly": True})
    return mounts
