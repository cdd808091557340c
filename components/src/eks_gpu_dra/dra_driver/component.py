"""`DraDriver`: the bundled DRA driver on every GPU node of a cluster, with least privilege.

Makes the namespace, the service account and what it may do, the optional layout file and the DaemonSet. It makes no
DeviceClass (`MigDeviceClasses` does) and no image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from eks_gpu_dra import _checks as checks
from eks_gpu_dra._args import ArgsReader, holds_output, joined, mapped
from eks_gpu_dra._kubernetes import GPU_TOLERATIONS, as_args, content_hash
from eks_gpu_dra.device_classes import DRIVER_NAME
from eks_gpu_dra.dra_driver.access import cluster_role_rules, own_slices_policy
from eks_gpu_dra.dra_driver.daemon_set import MIG_CONFIG_KEY, DriverPod, daemon_set_spec, pod_labels
from eks_gpu_dra.dra_driver.layouts import check_layout_file, check_layout_name

_APP = "gpu-dra-driver"
_TAKEN_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class DraDriverArgs(TypedDict):
    """Inputs of DraDriver."""

    image: pulumi.Input[str]
    """The driver image by digest (name@sha256:...), or localhost/name:tag for one imported on the node."""
    namespace: NotRequired[pulumi.Input[str]]
    """Namespace to create for the driver. Default: gpu-dra-driver."""
    kubelet_root: NotRequired[pulumi.Input[str]]
    """Kubelet's root directory on the nodes. Default: /var/lib/kubelet."""
    driver_root: NotRequired[pulumi.Input[str]]
    """Host path of the NVIDIA driver installation. Default: /. With the GPU Operator's driver container: /run/nvidia/driver."""
    dev_root: NotRequired[pulumi.Input[str]]
    """Host path of the root that holds dev/nvidia*. Default: found by the driver."""
    cdi_root: NotRequired[pulumi.Input[str]]
    """Folder of CDI specs that the container runtime reads. Default: /var/run/cdi."""
    mig_config: NotRequired[pulumi.Input[str]]
    """Name of the MIG layout to apply on every node, for example all-balanced. Default: publish the partitions as found."""
    mig_config_data: NotRequired[pulumi.Input[str]]
    """An own mig-parted v1 file (YAML text) that defines mig_config. Default: the names NVIDIA's mig-parted ships."""
    alt_proc_devices_path: NotRequired[pulumi.Input[str]]
    """Path in the container of the file to read in place of /proc/devices."""
    alt_proc_driver_path: NotRequired[pulumi.Input[str]]
    """Path in the container of the folder to read in place of /proc/driver/nvidia."""
    alt_sysfs_path: NotRequired[pulumi.Input[str]]
    """Path in the container of the folder to read in place of /sys."""
    node_selector: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """Labels of the nodes that get the driver. Default: nvidia.com/gpu.present=true."""
    tolerations: NotRequired[pulumi.Input[Sequence[Mapping[str, Any]]]]
    """Tolerations of the driver pod, spelt as in a pod spec. Default: nvidia.com/gpu with effect NoSchedule."""
    image_pull_policy: NotRequired[pulumi.Input[str]]
    """Always, IfNotPresent or Never. Default: IfNotPresent, which a digest makes safe."""
    log_level: NotRequired[pulumi.Input[str]]
    """debug, info, warning or error. Default: info."""


class DraDriver(pulumi.ComponentResource):
    """The bundled DRA driver as a DaemonSet on the GPU nodes, limited to reading claims and publishing its own node's devices."""

    namespace: pulumi.Output[str]
    """Namespace of the driver."""
    service_account: pulumi.Output[str]
    """Name of the driver's service account."""
    driver_name: pulumi.Output[str]
    """Name under which the driver publishes devices; the `driver` of opaque claim configuration."""

    def __init__(self, name: str, args: DraDriverArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        namespace, mig_config_data, pod = _read(name, args)
        super().__init__("eks-gpu-dra:index:DraDriver", name, {}, opts)
        if mig_config_data is None:
            config_map_name = None
        else:
            config_map_name = mapped(mig_config_data, lambda text: f"{_APP}-mig-{content_hash(text)}")
            pod = replace(pod, mig_config_map=config_map_name)

        def child(*depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions(parent=self, depends_on=list(depends_on))

        labels: dict[str, Any] = {"app.kubernetes.io/name": _APP, "app.kubernetes.io/instance": namespace}
        in_namespace: dict[str, Any] = {"namespace": namespace, "labels": labels}

        namespace_resource = kubernetes.core.v1.Namespace(
            f"{name}-namespace",
            metadata={
                "name": namespace,
                "labels": {
                    **labels,
                    # The driver pod is privileged (daemon_set.py says what for); nothing else belongs in this namespace.
                    "pod-security.kubernetes.io/enforce": "privileged",
                    "pod-security.kubernetes.io/audit": "privileged",
                    "pod-security.kubernetes.io/warn": "privileged",
                },
            },
            opts=child(),
        )
        service_account = kubernetes.core.v1.ServiceAccount(
            f"{name}-service-account",
            metadata=as_args({**in_namespace, "name": _APP}),
            # Only the driver's own pods mount the token; they say so themselves.
            automount_service_account_token=False,
            opts=child(namespace_resource),
        )
        cluster_role = kubernetes.rbac.v1.ClusterRole(
            f"{name}-cluster-role",
            metadata={"name": joined(namespace, "-kubelet-plugin"), "labels": labels},
            rules=as_args(cluster_role_rules()),
            opts=child(),
        )
        binding = kubernetes.rbac.v1.ClusterRoleBinding(
            f"{name}-cluster-role-binding",
            metadata={"name": joined(namespace, "-kubelet-plugin"), "labels": labels},
            role_ref=as_args(
                {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": joined(namespace, "-kubelet-plugin"),
                }
            ),
            subjects=as_args([{"kind": "ServiceAccount", "name": _APP, "namespace": namespace}]),
            opts=child(cluster_role, service_account),
        )
        policy = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicy(
            f"{name}-own-slices-policy",
            metadata={"name": joined(namespace, "-own-slices"), "labels": labels},
            spec=as_args(own_slices_policy(namespace, _APP)),
            opts=child(),
        )
        policy_binding = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
            f"{name}-own-slices-policy-binding",
            metadata={"name": joined(namespace, "-own-slices"), "labels": labels},
            spec=as_args({"policyName": joined(namespace, "-own-slices"), "validationActions": ["Deny"]}),
            opts=child(policy),
        )
        before_the_pods: list[pulumi.Resource] = [service_account, binding, policy_binding]
        if mig_config_data is not None:
            before_the_pods.append(
                kubernetes.core.v1.ConfigMap(
                    f"{name}-mig-config",
                    metadata=as_args({**in_namespace, "name": config_map_name}),
                    data={MIG_CONFIG_KEY: mig_config_data},
                    immutable=True,
                    opts=child(namespace_resource),
                )
            )
        kubernetes.apps.v1.DaemonSet(
            f"{name}-daemon-set",
            metadata=as_args({**in_namespace, "name": _APP, "labels": pod_labels(namespace)}),
            spec=as_args(daemon_set_spec(pod, namespace)),
            opts=child(*before_the_pods),
        )

        self.namespace = pulumi.Output.from_input(namespace)
        self.service_account = pulumi.Output.from_input(_APP)
        self.driver_name = pulumi.Output.from_input(DRIVER_NAME)
        self.register_outputs(
            {"namespace": self.namespace, "serviceAccount": self.service_account, "driverName": self.driver_name}
        )


def _read(name: str, args: DraDriverArgs) -> tuple[pulumi.Input[str], pulumi.Input[str] | None, DriverPod]:
    reader = ArgsReader(f"DraDriver {name!r}", args, DraDriverArgs)
    namespace = reader.read("namespace", _own_namespace, "gpu-dra-driver")
    mig_config = reader.read("mig_config", checks.text)
    mig_config_data = reader.read("mig_config_data", check_layout_file)
    pod = DriverPod(
        image=reader.read("image", checks.pinned_image),
        image_pull_policy=reader.read(
            "image_pull_policy", checks.one_of("Always", "IfNotPresent", "Never"), "IfNotPresent"
        ),
        service_account=_APP,
        kubelet_root=reader.read("kubelet_root", checks.absolute_path, "/var/lib/kubelet"),
        driver_root=reader.read("driver_root", checks.absolute_path, "/"),
        dev_root=reader.read("dev_root", checks.absolute_path),
        cdi_root=reader.read("cdi_root", checks.absolute_path, "/var/run/cdi"),
        mig_config=mig_config,
        mig_config_map=None,
        alt_proc_devices_path=reader.read("alt_proc_devices_path", checks.absolute_path),
        alt_proc_driver_path=reader.read("alt_proc_driver_path", checks.absolute_path),
        alt_sysfs_path=reader.read("alt_sysfs_path", checks.absolute_path),
        node_selector=reader.read("node_selector", checks.labels, {"nvidia.com/gpu.present": "true"}),
        tolerations=reader.read("tolerations", checks.tolerations, GPU_TOLERATIONS),
        log_level=reader.read("log_level", checks.one_of("debug", "info", "warning", "error"), "info"),
    )
    if mig_config_data is not None and mig_config is None:
        reader.problem("mig_config", "is missing: mig_config_data defines layouts, mig_config names the one to apply")
    elif mig_config is not None and not holds_output([mig_config, mig_config_data]):
        for problem in check_layout_name("mig_config", mig_config, mig_config_data):
            reader.problem(problem.path, problem.reason)
    reader.finish()
    return namespace, mig_config_data, pod


def _own_namespace(path: str, value: Any) -> Iterator[checks.Problem]:
    yield from checks.dns_label(path, value)
    if value in _TAKEN_NAMESPACES:
        yield checks.Problem(
            path, f"{value!r} is Kubernetes' own: name one that does not exist yet, it is made privileged"
        )
