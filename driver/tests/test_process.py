"""The driver as kubelet and an operator see it: start, refusals, probes, metrics, rolling update, end."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from gpu_dra_driver._proto import health_pb2
from gpu_dra_driver.registration import SocketPathError, socket_paths
from tests.cluster import free_ports
from tests.conftest import Node, eventually

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def health(port: int, service: str = "liveness") -> int:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        return int(check(health_pb2.HealthCheckRequest(service=service), timeout=10, wait_for_ready=True).status)


class TestRefusals:
    @pytest.mark.parametrize(
        ("layout", "complaint"),
        [("all-balancd", "all-balanced"), ("too-much", "4g.20gb")],
    )
    def test_a_layout_that_cannot_be_had_stops_the_driver_before_it_touches_anything(
        self, make_node: Callable[..., Node], layout: str, complaint: str
    ) -> None:
        node = make_node(count=2)
        settings = {"MIG_CONFIG": layout}
        if layout == "too-much":
            file = node.folder / "layouts.yaml"
            file.write_text(
                "version: v1\nmig-configs:\n  too-much:\n"
                "  - {devices: [0], mig-enabled: true, mig-devices: {1g.5gb: 1}}\n"
                "  - {devices: [1], mig-enabled: true, mig-devices: {4g.20gb: 2}}\n"
            )
            settings["MIG_CONFIG_FILE"] = str(file)
        driver = node.start_driver(ready=False, **settings)
        assert driver.wait() == 1
        assert complaint in driver.log
        assert "Traceback" not in driver.log
        assert (node.gpus.partitions(0), node.cluster.slices(), node.kubelet.sockets()) == ([], [], [])

    def test_kubelet_refusing_the_driver_ends_it_with_kubelets_reason(self, make_node: Callable[..., Node]) -> None:
        node = make_node(count=1, mig=False)
        driver = node.start_driver(ready=False)
        node.kubelet.register(refuse="no supported version")
        assert driver.wait() == 1
        assert "kubelet refused the registration: no supported version" in driver.log

    def test_an_unusable_kubeconfig(self, make_node: Callable[..., Node]) -> None:
        node = make_node(count=1, mig=False)
        empty = node.folder / "kubeconfig"
        empty.write_text("{}")
        driver = node.start_driver(ready=False, KUBECONFIG=str(empty))
        assert driver.wait() == 1
        assert "no usable API configuration" in driver.log or "no current context" in driver.log
        assert "Traceback" not in driver.log

    @pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine's own /dev has GPUs")
    def test_device_nodes_that_appeared_after_the_container_started(self, make_node: Callable[..., Node]) -> None:
        node = make_node(count=1, mig=False)
        next((node.gpus.root / "usr/lib/x86_64-linux-gnu").glob("libnvidia-sim-state.so.*[0-9]")).unlink()
        driver = node.start_driver(ready=False)
        assert driver.wait() == 1
        assert "appeared after this container had started; restarting it shows them" in driver.log

    def test_a_metrics_port_that_is_taken(self, make_node: Callable[..., Node]) -> None:
        node = make_node(count=1, mig=False)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            driver = node.start_driver(ready=False, HTTP_ENDPOINT=address)
            assert driver.wait() == 1
            assert f"cannot serve metrics on {address}" in driver.log


class TestWaiting:
    def test_for_a_driver_that_is_installed_later(self, make_node: Callable[..., Node]) -> None:
        node = make_node(count=1, mig=False)
        away = node.folder / "not-yet"
        node.gpus.root.rename(away)
        (port,) = free_ports(1)
        driver = node.start_driver(ready=False, HEALTHCHECK_PORT=str(port))
        driver.wait_for("cannot open NVML yet: no libnvidia-ml.so.1 under")
        assert health(port) == NOT_SERVING
        away.rename(node.gpus.root)
        driver.wait_for("ready after")
        assert health(port) == SERVING

    def test_it_can_be_stopped_while_it_waits(self, make_node: Callable[..., Node]) -> None:
        node = make_node(count=1, mig=False)
        driver = node.start_driver(ready=False, DRIVER_ROOT_CTR_PATH=str(node.folder / "empty"))
        driver.wait_for("cannot open NVML yet")
        assert driver.stop() == 0


def test_health_follows_the_sockets(make_node: Callable[..., Node]) -> None:
    node = make_node(count=1, mig=False)
    (port,) = free_ports(1)
    node.start_driver(HEALTHCHECK_PORT=str(port))
    assert (health(port), health(port, "")) == (SERVING, SERVING)
    with pytest.raises(grpc.RpcError, match="unknown service"):
        health(port, "readiness")
    (node.kubelet.registry / "gpu.nvidia.com-reg.sock").unlink()
    assert health(port) == NOT_SERVING


def test_metrics_count_failures_too(make_node: Callable[..., Node]) -> None:
    node = make_node(count=1)
    (port,) = free_ports(1)
    node.start_driver(MIG_CONFIG="all-balanced", HTTP_ENDPOINT=f"127.0.0.1:{port}")
    node.kubelet.prepare_one(node.cluster.claim({"r": "gpu-0-mig-1g5gb-19-0"}))
    node.kubelet.prepare_error(node.cluster.claim({"r": "gpu-7"}))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    for line in (
        'nvidia_dra_requests_total{driver="gpu.nvidia.com",operation="prepare"} 2',
        'nvidia_dra_requests_inflight{driver="gpu.nvidia.com",operation="prepare"} 0',
        'nvidia_dra_node_prepare_errors_total{driver="gpu.nvidia.com",error_type="prepare_devices"} 1',
        'nvidia_dra_prepared_devices{device_type="mig",driver="gpu.nvidia.com",node="node-a"} 1',
        'nvidia_dra_prepared_devices{device_type="gpu",driver="gpu.nvidia.com",node="node-a"} 0',
        'nvidia_dra_request_duration_seconds_count{driver="gpu.nvidia.com",operation="prepare"} 2',
        'gpu_dra_driver_layout_gpus{state="applied",node="node-a"} 1',
    ):
        assert line in lines
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/other", timeout=10)


def test_json_logs_are_one_document_per_line(make_node: Callable[..., Node]) -> None:
    node = make_node(count=1, mig=False)
    driver = node.start_driver(LOG_FORMAT="json")
    claim = node.cluster.claim({"r": "gpu-0"})
    node.kubelet.prepare_one(claim)
    events = [json.loads(line) for line in driver.log.splitlines()]
    metadata = claim["metadata"]
    assert events[-1]["message"].startswith(
        f"prepared claim {metadata['namespace']}/{metadata['name']}:{metadata['uid']}: gpu-0 ("
    )
    assert {event["level"] for event in events} == {"info"}


def test_two_pods_of_a_rolling_update_serve_one_after_the_other(make_node: Callable[..., Node]) -> None:
    node = make_node(count=1)
    old = node.start_driver(ready=False, MIG_CONFIG="all-balanced", POD_UID="0aaaaaaa-0000-4000-8000-000000000001")
    old.wait_for("ready after")
    assert node.kubelet.register(socket="0aaaaaaa").endpoint.endswith("/dra-0aaaaaaa-0000-4000-8000-000000000001.sock")
    first, second = (node.cluster.claim({"r": name}) for name in ("gpu-0-mig-1g5gb-19-0", "gpu-0-mig-1g5gb-19-1"))
    node.kubelet.prepare_one(first)

    new = node.start_driver(ready=False, MIG_CONFIG="all-balanced", POD_UID="0bbbbbbb-0000-4000-8000-000000000002")
    new.wait_for("ready after")
    assert len(node.kubelet.sockets()) == 2
    rival = node.cluster.claim({"r": "gpu-0-mig-1g5gb-19-0"})
    node.kubelet.register(socket="0bbbbbbb")
    assert "already allocated to different claim" in node.kubelet.prepare_error(rival)
    node.kubelet.prepare_one(second)

    node.kubelet.register(socket="0aaaaaaa")  # kubelet falls back to the older
    rival = node.cluster.claim({"r": "gpu-0-mig-1g5gb-19-1"})
    assert "already allocated to different claim" in node.kubelet.prepare_error(rival)
    node.kubelet.unprepare_one(second)
    assert old.stop() == 0
    assert len(node.kubelet.sockets()) == 1
    node.kubelet.register(socket="0bbbbbbb")
    node.kubelet.prepare_one(rival)


def test_sockets_that_a_killed_pod_left_behind_are_removed(make_node: Callable[..., Node]) -> None:
    node = make_node(count=1, mig=False)
    node.start_driver(POD_UID="0aaaaaaa-0000-4000-8000-000000000001").kill()
    node.start_driver(ready=False, POD_UID="0bbbbbbb-0000-4000-8000-000000000002").wait_for("ready after")
    assert eventually(
        lambda: node.kubelet.sockets() == ["gpu.nvidia.com-0bbbbbbb-0000-4000-8000-000000000002-reg.sock"]
    )


UID = "3e2b1a00-1111-4222-8333-444455556666"


@pytest.mark.parametrize(
    ("registrar", "pod_uid", "expected"),
    [
        ("/var/lib/kubelet/plugins_registry", "", ("gpu.nvidia.com-reg.sock", "dra.sock")),
        ("/var/lib/kubelet/plugins_registry", UID, (f"gpu.nvidia.com-{UID}-reg.sock", f"dra-{UID}.sock")),
        (
            "/mnt/disks/ssd0/var/lib/kubelet/plugins_registry",
            UID,
            ("gpu.nvidia.com-1852f5527414-reg.sock", "dra-1852f5527414.sock"),
        ),
    ],
)
def test_socket_names(registrar: str, pod_uid: str, expected: tuple[str, str]) -> None:
    sockets = socket_paths(Path(registrar), Path("/var/lib/kubelet/plugins/gpu.nvidia.com"), pod_uid)
    assert (sockets.registration.name, sockets.plugin.name) == expected
    assert len(str(sockets.registration)) < 108


def test_a_folder_too_deep_for_any_socket() -> None:
    with pytest.raises(SocketPathError, match="use a shorter folder"):
        socket_paths(Path("/" + "x" * 100), Path("/plugins"), UID)
