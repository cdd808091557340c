"""The sandbox shape: what it refuses before it declares anything, and exactly what it declares."""

from pathlib import Path
from typing import Any

import config
import pulumi
import pytest
import sandbox

from gpu_sandbox.identity import Identity
from tests.unit.components.recording import Program, run

STATE = Path("/state")
IMAGES = {"driver": "localhost/gpu-dra-driver:1", "workload": "localhost/gpu-sandbox-workload:1"}
SOURCE = config.Source("eks-gpu-dra", "stacks/Pulumi.sandbox.yaml")
OWN_LAYOUTS = """
version: v1
mig-configs:
  two-big: [{devices: all, mig-enabled: true, mig-devices: {4g.20gb: 2}}]
  fits: [{devices: all, mig-enabled: true, mig-devices: {3g.20gb: 1, 2g.10gb: 1, 1g.5gb: 1}}]
"""


def node(board: str = "a100-sxm4-40gb", gpus: int = 8, images: dict[str, str] | None = None) -> sandbox.Node:
    identity = Identity("abcd1234", STATE, "https://127.0.0.1:6443")
    return sandbox.Node(identity, board, gpus, IMAGES if images is None else images)


def plan(on: sandbox.Node | None = None, **settings: Any) -> sandbox.Plan:
    values = {"shape": "sandbox", "mig_config": "all-balanced", **settings}
    return sandbox.plan(config.decode(sandbox.SandboxSettings, values, SOURCE), on or node(), SOURCE)


def declared(**settings: Any) -> Program:
    chosen = plan(**settings)
    return run(lambda: sandbox.resources(chosen, node().identity, "the kubeconfig"))


@pytest.fixture
def layouts(tmp_path: Path) -> Path:
    file = tmp_path / "layouts.yaml"
    file.write_text(OWN_LAYOUTS)
    return file


@pytest.mark.parametrize(
    ("on", "settings", "path", "says"),
    [
        (node(), {"mig_config": "all-balancd"}, "mig_config", "all-balanced"),
        (node(), {"board": "a100-sxm-40gb"}, "board", "nearest: a100-sxm4-40gb"),
        (node(), {"board": "a100-sxm4-80gb", "workloads": False, "claims": {}}, "board", "sandbox up --board a100-sxm4-80gb"),
        (node(), {"gpus": 4}, "gpus", "the sandbox has 8 x a100-sxm4-40gb"),
        (node(), {"claims": {"a": "1g.6gb"}, "workloads": False}, "claims.a", "1g.5gb"),
        (node(), {"claims": {"a": "7g.40gb"}, "workloads": False}, "claims.a", "the layout makes 16 x 1g.5gb"),
        (node(), {"claims": {"a": "gpu"}, "workloads": False}, "claims.a", "asks for 1 x gpu"),
        (node(gpus=1), {"claims": {"a": {"profile": "2g.10gb", "count": 2}}, "workloads": False}, "claims.a", "asks for 2 x 2g.10gb"),
        (node(), {"claims": {"small": "1g.5gb", "large": "3g.20gb"}}, "claims", "has no medium"),
        (node(images={}), {"images": {"driver": "localhost/x:1"}}, "images.workload", "sandbox images load"),
        (node(), {"mig_config_file": "absent.yaml"}, "mig_config_file", "No such file"),
        (node("t4"), {"claims": {}, "workloads": False}, "mig_config", "makes no device of 8 x t4"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_its_setting(on: sandbox.Node, settings: Any, path: str, says: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        plan(on, **settings)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert says in problem.reason


def test_a_board_without_mig_cannot_meet_a_mig_claim() -> None:
    with pytest.raises(config.ConfigError, match="T4 has no MIG"):
        plan(node("t4"), mig_config=None)


def test_a_layout_that_does_not_fit_is_explained(layouts: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"mig_config: .*4g\.20gb"):
        plan(mig_config="two-big", mig_config_file=str(layouts))


def test_an_own_layout_that_fits_is_taken(layouts: Path) -> None:
    assert plan(mig_config="fits", mig_config_file=str(layouts)).layout_text == OWN_LAYOUTS


def test_every_problem_comes_in_one_error() -> None:
    with pytest.raises(config.ConfigError) as caught:
        plan(node(images={}), gpus=2, claims={"a": "9g.90gb"})
    assert {problem.path for problem in caught.value.problems} == {
        "gpus",
        "claims.a",
        "claims",
        "images.driver",
        "images.workload",
    }


def test_another_cluster_is_refused_before_anything_is_declared(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "current-context: prod\n"
        "contexts: [{name: prod, context: {cluster: prod, user: me}}]\n"
        "clusters: [{name: prod, cluster: {server: 'https://prod.example:443'}}]\n"
    )
    with pytest.raises(pulumi.RunError, match="sandbox"):
        run(lambda: sandbox.declare({"shape": "sandbox", "kubeconfig": str(kubeconfig)}, SOURCE))


def test_a_missing_kubeconfig_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="sandbox up"):
        sandbox.declare({"shape": "sandbox", "kubeconfig": str(tmp_path / "absent")}, SOURCE)


def test_the_components_and_their_order() -> None:
    program = declared()
    assert {each.name for each in program if each.parent in ("", "test-test")} == {
        *("sandbox", "dra-driver", "device-classes", "demo", "claims", "fashion-mnist"),
    }
    demo = program.named("demo").depends_on
    assert {"dra-driver-daemon-set", "device-classes-mig-1g.5gb"} <= demo, "the driver must outlive the pods on destroy"
    # Children register, and are deleted, with what their component depends on: the engine orders them by their parent.
    assert "demo" in program.named("claims").depends_on
    assert "claims-small" in program.named("fashion-mnist").depends_on


def test_the_driver_gets_the_sandboxes_paths() -> None:
    spec = declared().named("dra-driver-daemon-set").inputs["spec"]["template"]["spec"]
    assert {each["name"]: each["hostPath"]["path"] for each in spec["volumes"]} == {
        "plugins-registry": "/state/kubelet/plugins_registry",
        "plugin": "/state/kubelet/plugins/gpu.nvidia.com",
        "cdi": "/state/cdi",
        "driver-root": "/state/driver-root",
    }
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true", "gpu-sandbox/simulated": "true"}
    (container,) = spec["containers"]
    assert container["image"] == IMAGES["driver"]
    assert {each["name"]: each.get("value") for each in container["env"]}.items() >= {
        "MIG_CONFIG": "all-balanced",
        "ALT_PROC_DEVICES_PATH": "/driver-root/proc/devices",
        "ALT_PROC_DRIVER_PATH": "/driver-root/proc/driver/nvidia",
        "ALT_SYSFS_PATH": "/driver-root/sys",
    }.items()


def test_every_resource_is_on_the_sandboxes_own_provider() -> None:
    program = declared()
    assert program.named("sandbox").type == "pulumi:providers:kubernetes"
    kubernetes = [each for each in program if each.type.startswith("kubernetes:")]
    assert kubernetes
    assert all("::sandbox::" in each.provider for each in kubernetes)


def test_without_workloads_any_claims_will_do() -> None:
    program = declared(workloads=False, claims={"tiny": {"profile": "1g.5gb", "count": 2}})
    assert not program.of_kind("Deployment")
    (template,) = program.of_kind("ResourceClaimTemplate")
    assert template.inputs["spec"]["spec"]["devices"]["requests"][0]["exactly"]["count"] == 2
