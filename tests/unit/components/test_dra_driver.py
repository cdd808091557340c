"""DraDriver: exactly these children with these inputs, the least rights, and every wrong input in one error."""

from typing import Any

import pulumi
import pytest

from eks_gpu_dra import DraDriver, DraDriverArgs, InvalidInputs
from tests.unit.components.recording import Program, run, unknown

DIGEST = "registry.example/gpu-dra-driver@sha256:" + "0" * 64
LAYOUTS = """
version: v1
mig-configs:
  ours:
    - devices: all
      mig-enabled: true
      mig-devices: {1g.5gb: 7}
"""


def driver(preview: bool = False, **args: Any) -> Program:
    inputs: DraDriverArgs = {"image": DIGEST, **args}  # type: ignore[typeddict-item]
    return run(lambda: DraDriver("dra", inputs), preview=preview)


def pod_spec(program: Program) -> dict[str, Any]:
    spec: dict[str, Any] = program.named("dra-daemon-set").inputs["spec"]["template"]["spec"]
    return spec


def container(program: Program) -> dict[str, Any]:
    (only,) = pod_spec(program)["containers"]
    assert isinstance(only, dict)
    return only


def environment(program: Program) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container(program)["env"] if "value" in each}


def test_its_children_are_exactly_these() -> None:
    program = driver()
    assert {(each.type.removeprefix("kubernetes:"), each.name) for each in program} == {
        ("eks-gpu-dra:index:DraDriver", "dra"),
        ("core/v1:Namespace", "dra-namespace"),
        ("core/v1:ServiceAccount", "dra-service-account"),
        ("rbac.authorization.k8s.io/v1:ClusterRole", "dra-cluster-role"),
        ("rbac.authorization.k8s.io/v1:ClusterRoleBinding", "dra-cluster-role-binding"),
        ("admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy", "dra-own-slices-policy"),
        ("admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding", "dra-own-slices-policy-binding"),
        ("apps/v1:DaemonSet", "dra-daemon-set"),
    }
    assert all(each.parent == "dra" for each in program if each.name != "dra")


def test_the_pods_start_only_when_their_rights_and_limits_are_in_force() -> None:
    program = driver(mig_config="ours", mig_config_data=LAYOUTS)
    assert program.named("dra-daemon-set").depends_on >= {
        "dra-service-account",
        "dra-cluster-role-binding",
        "dra-own-slices-policy-binding",
        "dra-mig-config",
    }
    assert program.named("dra-service-account").depends_on == {"dra-namespace"}


def test_the_service_account_may_do_exactly_this() -> None:
    assert driver().named("dra-cluster-role").inputs["rules"] == [
        {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims"], "verbs": ["get", "list"]},
        {
            "apiGroups": ["resource.k8s.io"],
            "resources": ["resourceslices"],
            "verbs": ["list", "watch", "create", "update", "delete"],
        },
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
    ]


def test_the_role_is_bound_to_that_account_of_that_namespace_only() -> None:
    binding = driver(namespace="gpu-system").named("dra-cluster-role-binding").inputs
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "gpu-dra-driver", "namespace": "gpu-system"}]
    assert binding["roleRef"]["name"] == "gpu-system-kubelet-plugin"


def test_the_admission_policy_speaks_of_the_account_the_pod_runs_as() -> None:
    program = driver(namespace="gpu-system")
    policy = program.named("dra-own-slices-policy").inputs
    (condition,) = policy["spec"]["matchConditions"]
    account = pod_spec(program)["serviceAccountName"]
    assert condition["expression"] == f"request.userInfo.username == 'system:serviceaccount:gpu-system:{account}'"
    assert policy["spec"]["failurePolicy"] == "Fail"
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert rule["operations"] == ["CREATE", "UPDATE", "DELETE"]
    assert rule["resources"] == ["resourceslices"]
    expressions = [each["expression"] for each in policy["spec"]["validations"]]
    assert "variables.sliceNode == variables.tokenNode" in expressions
    assert "variables.slice.spec.driver == 'gpu.nvidia.com'" in expressions
    binding = program.named("dra-own-slices-policy-binding").inputs["spec"]
    assert binding == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}


def test_the_namespace_admits_the_privileged_pod() -> None:
    metadata = driver().named("dra-namespace").inputs["metadata"]
    assert metadata["name"] == "gpu-dra-driver"
    assert metadata["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def test_the_daemon_set_updates_without_a_gap_and_carries_the_known_label() -> None:
    spec = driver().named("dra-daemon-set").inputs["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    labels = spec["template"]["metadata"]["labels"]
    assert labels["dra-driver-nvidia-gpu-component"] == "kubelet-plugin"
    assert spec["selector"]["matchLabels"].items() <= labels.items()


def test_the_pod_is_node_critical_on_gpu_nodes_and_mounts_its_token() -> None:
    spec = pod_spec(driver())
    assert spec["priorityClassName"] == "system-node-critical"
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["automountServiceAccountToken"] is True
    assert "hostNetwork" not in spec
    assert "hostPID" not in spec


def test_the_container_is_privileged_on_a_read_only_file_system_and_probed_by_grpc() -> None:
    plugin = container(driver())
    assert plugin["image"] == DIGEST
    assert plugin["securityContext"] == {
        "privileged": True,
        "runAsUser": 0,
        "runAsGroup": 0,
        "readOnlyRootFilesystem": True,
    }
    for probe in ("startupProbe", "livenessProbe"):
        assert plugin[probe]["grpc"] == {"port": 51516, "service": "liveness"}
    assert "limits" not in plugin["resources"]


def test_kubelets_folders_and_cdi_are_at_the_same_path_inside_and_outside() -> None:
    program = driver(kubelet_root="/state/kubelet", driver_root="/opt/nvidia", cdi_root="/state/cdi")
    host = {each["name"]: each["hostPath"]["path"] for each in pod_spec(program)["volumes"]}
    inside = {each["name"]: each["mountPath"] for each in container(program)["volumeMounts"]}
    assert host == {
        "plugins-registry": "/state/kubelet/plugins_registry",
        "plugin": "/state/kubelet/plugins/gpu.nvidia.com",
        "cdi": "/state/cdi",
        "driver-root": "/opt/nvidia",
    }
    assert inside == {**host, "driver-root": "/driver-root"}
    assert (
        environment(program).items()
        >= {
            "KUBELET_REGISTRAR_DIRECTORY_PATH": "/state/kubelet/plugins_registry",
            "KUBELET_PLUGINS_DIRECTORY_PATH": "/state/kubelet/plugins",
            "CDI_ROOT": "/state/cdi",
            "NVIDIA_DRIVER_ROOT": "/opt/nvidia",
            "DRIVER_ROOT_CTR_PATH": "/driver-root",
        }.items()
    )


def test_node_and_pod_come_from_the_downward_api() -> None:
    fields = {
        each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"]
        for each in container(driver())["env"]
        if "valueFrom" in each
    }
    assert fields == {"NODE_NAME": "spec.nodeName", "POD_UID": "metadata.uid"}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({}, {"LOG_LEVEL": "info", "HEALTHCHECK_PORT": "51516", "NVIDIA_VISIBLE_DEVICES": "void"}),
        ({"log_level": "debug"}, {"LOG_LEVEL": "debug"}),
        ({"mig_config": "all-balanced"}, {"MIG_CONFIG": "all-balanced"}),
        ({"dev_root": "/"}, {"NVIDIA_DEV_ROOT": "/"}),
        (
            {"alt_proc_devices_path": "/driver-root/proc/devices"},
            {"ALT_PROC_DEVICES_PATH": "/driver-root/proc/devices"},
        ),
        ({"alt_proc_driver_path": "/a"}, {"ALT_PROC_DRIVER_PATH": "/a"}),
        ({"alt_sysfs_path": "/b"}, {"ALT_SYSFS_PATH": "/b"}),
    ],
)
def test_settings_reach_the_driver(args: dict[str, Any], expected: dict[str, str]) -> None:
    assert environment(driver(**args)).items() >= expected.items()


def test_what_is_not_set_is_left_to_the_driver() -> None:
    assert (
        environment(driver())
        .keys()
        .isdisjoint({"MIG_CONFIG", "MIG_CONFIG_FILE", "NVIDIA_DEV_ROOT", "ALT_PROC_DEVICES_PATH", "ALT_SYSFS_PATH"})
    )


def test_an_own_layout_file_is_mounted_under_a_name_that_changes_with_it() -> None:
    program = driver(mig_config="ours", mig_config_data=LAYOUTS)
    config_map = program.named("dra-mig-config").inputs
    assert config_map["data"] == {"mig-parted.yaml": LAYOUTS}
    assert environment(program)["MIG_CONFIG_FILE"] == "/etc/gpu-dra-driver/mig-parted.yaml"
    (volume,) = [each for each in pod_spec(program)["volumes"] if "configMap" in each]
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]
    changed = driver(mig_config="ours", mig_config_data=LAYOUTS.replace("7", "6")).named("dra-mig-config").inputs
    assert changed["metadata"]["name"] != config_map["metadata"]["name"]


def test_outputs_are_registered_once() -> None:
    assert driver(namespace="gpu-system").outputs["dra"] == [
        {"namespace": "gpu-system", "serviceAccount": "gpu-dra-driver", "driverName": "gpu.nvidia.com"}
    ]


@pytest.mark.parametrize(
    "image",
    [
        "localhost/gpu-dra-driver:1f2e3d",
        "localhost/a/b@sha256:" + "a" * 64,
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/x@sha256:" + "b" * 64,
    ],
)
def test_a_pinned_image_is_taken(image: str) -> None:
    assert container(driver(image=image))["image"] == image


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("image", "registry.example/gpu-dra-driver:latest", "@sha256:"),
        ("image", "localhost/gpu-dra-driver", "localhost/name:tag"),
        ("image", "registry.example/x@sha256:abc", "64 hex digits"),
        ("namespace", "GPU_System", "DNS label"),
        ("namespace", "kube-system", "Kubernetes' own"),
        ("kubelet_root", "var/lib/kubelet", "begin it with '/'"),
        ("cdi_root", "/var/run/cdi/", "not a normal path"),
        ("driver_root", "/a/../b", "not a normal path"),
        ("mig_config", "all-balancd", "'all-balanced'"),
        ("log_level", "verbose", "debug, info, warning, error"),
        ("image_pull_policy", "IfNotPresnt", "'IfNotPresent'"),
        ("node_selector", {"nvidia.com/gpu.present": True}, "put it in quotes"),
        ("tolerations", [{"key": "a", "operator": "Is"}], "tolerations[0].operator"),
        ("tolerations", [{"kee": "a"}], "'key'"),
        ("mig_config_data", LAYOUTS, "mig_config: is missing"),
        ("mig_config_data", "version: v2", "version"),
        ("kubelet_rot", "/x", "did you mean 'kubelet_root'"),
    ],
)
def test_a_wrong_input_says_which_and_what_to_do(key: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidInputs) as caught:
        driver(**{key: value})
    assert says in str(caught.value)
    assert key in str(caught.value)


def test_all_wrong_inputs_come_in_one_error_before_anything_is_registered() -> None:
    registered: list[Program] = []

    def program() -> None:
        registered.append(Program())
        DraDriver("dra", {"namespace": "A", "cdi_root": "b", "log_level": "c", "imagee": "d"})  # type: ignore[typeddict-unknown-key, typeddict-item]

    with pytest.raises(InvalidInputs) as caught:
        run(program)
    assert {problem.path for problem in caught.value.problems} == {
        "imagee",
        "image",
        "namespace",
        "cdi_root",
        "log_level",
    }
    assert caught.value.errors is not None
    assert {error["property_path"] for error in caught.value.errors} == {
        problem.path for problem in caught.value.problems
    }
    assert isinstance(caught.value, pulumi.RunError)
    assert str(caught.value).startswith("DraDriver 'dra': 5 inputs are wrong:")


def test_a_layout_must_be_in_the_own_file() -> None:
    with pytest.raises(InvalidInputs, match=r"mig_config: 'all-balanced' is not a layout of mig_config_data: .*ours"):
        driver(mig_config="all-balanced", mig_config_data=LAYOUTS)


@pytest.mark.parametrize(
    "key", ["image", "namespace", "kubelet_root", "mig_config", "mig_config_data", "node_selector"]
)
def test_what_a_preview_does_not_know_yet_is_no_error(key: str) -> None:
    def program() -> None:
        args: dict[str, Any] = {"image": DIGEST, "mig_config": "ours", "mig_config_data": LAYOUTS}
        args[key] = {"zone": unknown()} if key == "node_selector" else unknown()
        DraDriver("dra", args)  # type: ignore[arg-type]

    assert len(run(program, preview=True).resources) == 9


def test_an_output_is_checked_when_it_resolves() -> None:
    def program() -> None:
        DraDriver("dra", {"image": pulumi.Output.from_input("registry.example/x:latest")})

    with pytest.raises(InvalidInputs, match=r"image: 'registry.example/x:latest' is not pinned"):
        run(program)


def test_outputs_reach_every_place_they_belong() -> None:
    def program() -> None:
        DraDriver("dra", {"image": pulumi.Output.from_input(DIGEST), "namespace": pulumi.Output.from_input("later")})

    registered = run(program)
    assert container(registered)["image"] == DIGEST
    assert registered.named("dra-own-slices-policy").inputs["metadata"]["name"] == "later-own-slices"
    assert "serviceaccount:later:" in str(registered.named("dra-own-slices-policy").inputs["spec"]["matchConditions"])
