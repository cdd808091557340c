"""The cluster as data: the graph holds, and the configuration says what the sandbox promises."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpu_sandbox import components
from gpu_sandbox.components.model import Component, Context, ExitProbe, Group, HostFacts
from gpu_sandbox.settings import Extent, Settings, StatePaths


def _context(*, v2: bool = False, oom: bool = True, **changes: Any) -> Context:
    values: dict[str, Any] = {
        "sandbox_id": "01234567",
        "bin_dir": Path("/bin-dir"),
        "product_name": "NVIDIA A100-SXM4-40GB",
    }
    settings = Settings(**(values | changes))
    return Context(settings, StatePaths(Path("/state")), HostFacts(cgroup_v2=v2, can_lower_oom_score=oom))


def _plan(**changes: Any) -> dict[str, Component]:
    return {component.name: component for component in components.plan(_context(**changes))}


def _yaml(component: Component, name: str) -> dict[str, Any]:
    file = next(file for file in component.files if file.path.name == name)
    document: dict[str, Any] = yaml.safe_load(file.text)
    return document


def test_the_api_extent_is_etcd_and_the_api_server() -> None:
    assert _plan(extent=Extent.API).keys() == {"etcd", "kube-apiserver", "gateway", "cluster-objects"}


def test_dns_can_be_left_out() -> None:
    assert "coredns" in _plan()
    without = _plan(dns=False)
    assert "coredns" not in without
    assert "clusterDNS" not in _yaml(without["kubelet"], "kubelet.yaml")


def test_the_control_plane_outlives_the_node() -> None:
    node = {name for name, component in _plan().items() if component.group is Group.NODE}
    assert node == {"containerd", "pause-image", "kubelet", "kube-proxy", "coredns"}


def test_required_programs_are_those_of_the_plan() -> None:
    for extent in Extent:
        settings = _context(extent=extent).settings
        started = {Path(c.argv[0]).name for c in _plan(extent=extent).values() if c.argv[0].startswith("/bin-dir/")}
        assert started | {"containerd-shim-runc-v2"} >= set(components.required_programs(settings)) >= started


@pytest.mark.parametrize("gone", ["etcd", "kube-apiserver", "containerd", "pause-image"])
def test_a_graph_with_a_hole_is_refused(gone: str) -> None:
    rest = tuple(component for name, component in _plan().items() if name != gone)
    with pytest.raises(ValueError, match="never gets ready"):
        components.check_graph(rest)


def test_a_circle_is_refused() -> None:
    def waits(name: str, need: str) -> Component:
        return Component(name=name, argv=(), group=Group.NODE, ready=ExitProbe(), after=(need,))

    with pytest.raises(ValueError, match="never gets ready"):
        components.check_graph((waits("a", "b"), waits("b", "a")))


def test_the_api_server_is_closed_to_strangers() -> None:
    arguments = _plan()["kube-apiserver"].argv
    assert "--anonymous-auth=false" in arguments
    assert "--authorization-mode=Node,RBAC" in arguments
    assert "--enable-admission-plugins=NodeRestriction" in arguments
    assert not [argument for argument in arguments if "feature-gates" in argument or "runtime-config" in argument]


def test_the_kubelet_asks_the_api_server_who_may_do_what() -> None:
    config = _yaml(_plan()["kubelet"], "kubelet.yaml")
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authentication"]["webhook"] == {"enabled": True}
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["readOnlyPort"] == 0


@pytest.mark.parametrize(("v2", "tree"), [(False, False), (True, True)])
def test_quality_of_service_groups_are_left_out_on_v1_only(v2: bool, tree: bool) -> None:
    config = _yaml(_plan(v2=v2)["kubelet"], "kubelet.yaml")
    assert config.get("cgroupsPerQOS", True) is tree
    assert config["cgroupDriver"] == "cgroupfs"


def test_the_node_is_labelled_as_a_simulated_gpu_node() -> None:
    flag = next(a for a in _plan()["kubelet"].argv if a.startswith("--node-labels="))
    assert set(flag.removeprefix("--node-labels=").split(",")) == {
        "nvidia.com/gpu.present=true",
        "nvidia.com/gpu.product=NVIDIA-A100-SXM4-40GB",
        "gpu-sandbox/simulated=true",
    }


@pytest.mark.parametrize("oom", [True, False])
def test_containerd_reads_devices_from_the_sandbox_only(oom: bool) -> None:
    files = {file.path.name: file.text for file in _plan(oom=oom)["containerd"].files}
    runtime = tomllib.loads(files["containerd.toml"])["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime["cdi_spec_dirs"] == ["/state/cdi"]
    assert runtime["restrict_oom_score_adj"] is not oom
    bridge = json.loads(files["10-gpu-sandbox.conflist"])["plugins"][0]
    assert bridge["ipam"]["dataDir"].startswith("/state/")


def test_no_component_writes_outside_the_state_directory() -> None:
    for component in _plan().values():
        assert all(file.path.is_relative_to("/state") for file in component.files), component.name


def test_no_secret_is_written_where_others_can_read_it() -> None:
    text = "".join(file.text for component in _plan().values() for file in component.files)
    assert "PRIVATE KEY" not in text
    assert "client-key-data" not in text
