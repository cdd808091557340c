"""What a user does with pods: logs, exec, port-forward, names, services, the API from inside."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.sandboxes import RunningSandbox

_NAMESPACE = "test-pods"


def _pod(name: str, image: str, script: str, **spec: object) -> dict[str, object]:
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        **({"volumeMounts": spec.pop("mounts")} if "mounts" in spec else {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": _NAMESPACE, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec},
    }


@pytest.fixture(scope="module")
def namespace(cluster: RunningSandbox) -> Iterator[str]:
    cluster.kubectl("create", "namespace", _NAMESPACE)
    yield _NAMESPACE
    cluster.kubectl("delete", "namespace", _NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def web(cluster: RunningSandbox, busybox: str, namespace: str) -> str:
    """A pod that serves a page on port 8080, behind a service of the same name on port 80."""
    script = "echo started; mkdir /www; echo content > /www/index.html; exec httpd -f -p 8080 -h /www"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    manifest = {"apiVersion": "v1", "kind": "List", "items": [_pod("web", busybox, script), service]}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/web", "--timeout=30s")
    return "web"


@pytest.fixture(scope="module")
def client(cluster: RunningSandbox, busybox: str, namespace: str) -> str:
    """A pod to run commands in."""
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(_pod("client", busybox, "sleep 3600")))
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/client", "--timeout=30s")
    return "client"


def _in(cluster: RunningSandbox, pod: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return cluster.kubectl("exec", "-n", _NAMESPACE, pod, "--", *command, check=check)


def test_logs(cluster: RunningSandbox, web: str) -> None:
    assert cluster.kubectl("logs", "-n", _NAMESPACE, web).stdout == "started\n"


def test_exec_passes_input_output_and_the_exit_status(cluster: RunningSandbox, client: str) -> None:
    assert _in(cluster, client, "sh", "-c", "echo out; echo err >&2").stdout == "out\n"
    assert _in(cluster, client, "sh", "-c", "exit 7", check=False).returncode == 7
    piped = cluster.kubectl("exec", "-i", "-n", _NAMESPACE, client, "--", "cat", stdin="through\n")
    assert piped.stdout == "through\n"


def test_port_forward(cluster: RunningSandbox, web: str) -> None:
    command = [str(cluster.settings.bin_dir / "kubectl"), "port-forward", "-n", _NAMESPACE, f"pod/{web}", ":8080"]
    process = subprocess.Popen(command, env=cluster.environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=10) as answer:
            assert answer.read() == b"content\n"
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _service_address(cluster: RunningSandbox, name: str) -> str:
    return cluster.kubectl("get", "service", name, "-n", _NAMESPACE, "-o", "jsonpath={.spec.clusterIP}").stdout


@pytest.mark.parametrize("name", [f"web.{_NAMESPACE}.svc.cluster.local", "kubernetes.default.svc.cluster.local"])
def test_names_of_services_resolve(cluster: RunningSandbox, web: str, client: str, name: str) -> None:
    # Static busybox resolves names only in nslookup; its other applets would need the C library's plugins.
    address = _service_address(cluster, web) if name.startswith(web) else "10.96.0.1"
    assert f"Address: {address}\n" in _in(cluster, client, "nslookup", name).stdout


def test_other_names_fail_at_once(cluster: RunningSandbox, client: str) -> None:
    began = time.monotonic()
    assert _in(cluster, client, "nslookup", "example.com", check=False).returncode != 0
    assert time.monotonic() - began < 3


def _fetch(cluster: RunningSandbox, pod: str, address: str) -> subprocess.CompletedProcess[str]:
    script = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {address} 80"
    return _in(cluster, pod, "sh", "-c", script, check=False)


@pytest.mark.parametrize("pod", ["client", "web"])
def test_a_service_leads_to_its_pod(cluster: RunningSandbox, web: str, client: str, pod: str) -> None:
    """From another pod, and from the pod itself."""
    address = _service_address(cluster, web)
    deadline = time.monotonic() + 10  # until kube-proxy has seen the endpoint
    while "content\n" not in (result := _fetch(cluster, pod, address)).stdout:
        assert time.monotonic() < deadline, result


def test_there_is_no_way_out(cluster: RunningSandbox, client: str) -> None:
    began = time.monotonic()
    result = _in(cluster, client, "nc", "-w", "10", "192.0.2.1", "80", check=False)
    assert result.returncode != 0
    assert "No route to host" in result.stderr or "unreachable" in result.stderr
    assert time.monotonic() - began < 5


def test_a_pod_talks_to_the_api_through_the_kubernetes_service(
    cluster: RunningSandbox, busybox: str, namespace: str
) -> None:
    pod = _pod(
        "inside",
        busybox,
        "/kubectl auth whoami -o jsonpath={.status.userInfo.username}",
        restartPolicy="Never",
        mounts=[{"name": "kubectl", "mountPath": "/kubectl", "readOnly": True}],
        volumes=[{"name": "kubectl", "hostPath": {"path": str((cluster.settings.bin_dir / "kubectl").resolve())}}],
    )
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    with contextlib.suppress(AssertionError):
        cluster.kubectl(
            "wait", "-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", "pod/inside", "--timeout=30s"
        )
    assert cluster.kubectl("logs", "-n", namespace, "inside").stdout == f"system:serviceaccount:{namespace}:default"
