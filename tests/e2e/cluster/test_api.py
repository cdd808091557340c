"""The cluster's API as promised: who gets in, what the admission chain refuses, and which DRA features are there."""

from __future__ import annotations

import json
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from gpu_sandbox.identity import require_sandbox
from tests.sandboxes import RunningSandbox


def _get(cluster: RunningSandbox, path: str) -> int:
    trust = ssl.create_default_context(cafile=str(cluster.paths.pki / "ca.crt"))
    try:
        with urllib.request.urlopen(
            f"https://127.0.0.1:{cluster.settings.api_port}{path}", context=trust, timeout=5
        ) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("path", ["/version", "/healthz", "/api/v1/namespaces"])
def test_strangers_are_refused(cluster: RunningSandbox, path: str) -> None:
    assert _get(cluster, path) == 401


def test_only_loopback_listens(cluster: RunningSandbox) -> None:
    port = cluster.settings.api_port
    listening = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[3] for line in listening.splitlines()] == [f"127.0.0.1:{port}"]
    addresses = json.loads(subprocess.run(["ip", "-json", "-4", "addr"], capture_output=True, check=True).stdout)
    for link in addresses:
        for address in link["addr_info"]:
            if not address["local"].startswith("127."):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((address["local"], port), timeout=2).close()


def test_the_kubelet_asks_for_a_certificate(cluster: RunningSandbox) -> None:
    script = (
        "import ssl,sys,urllib.request,urllib.error\n"
        "trust = ssl.create_default_context(cafile=sys.argv[1])\n"
        "try: urllib.request.urlopen('https://10.244.0.1:10250/pods', context=trust, timeout=5)\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )
    result = cluster.sandbox("enter", sys.executable, "-c", script, str(cluster.paths.pki / "ca.crt"))
    assert result.stdout.strip() == "401"


def test_files_with_keys_are_the_owners_alone(cluster: RunningSandbox) -> None:
    secret = [cluster.kubeconfig, *cluster.paths.kubeconfigs.iterdir(), *cluster.paths.pki.glob("*.key")]
    assert len(secret) > 10
    assert {stat.S_IMODE(Path(file).stat().st_mode) for file in secret} == {0o600}


def test_its_kubeconfig_is_recognised(cluster: RunningSandbox) -> None:
    identity = require_sandbox(cluster.kubeconfig.read_text(), cluster.state_dir)
    recorded = cluster.kubectl(
        "get", "configmap", "gpu-sandbox", "-n", "kube-system", "-o", "jsonpath={.data.id}"
    ).stdout
    assert identity.sandbox_id == recorded == cluster.settings.sandbox_id


def test_the_node_is_a_simulated_gpu_node(cluster: RunningSandbox) -> None:
    node = json.loads(cluster.kubectl("get", "node", "gpu-sandbox-0", "-o", "json").stdout)
    labels = node["metadata"]["labels"]
    assert labels["nvidia.com/gpu.present"] == "true"
    assert labels["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-40GB"
    assert labels["gpu-sandbox/simulated"] == "true"
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.3"


def test_a_node_may_not_give_itself_protected_labels(cluster: RunningSandbox) -> None:
    patch = '{"metadata":{"labels":{"node-restriction.kubernetes.io/trusted":"true"}}}'
    result = cluster.sandbox(
        "enter",
        str(cluster.settings.bin_dir / "kubectl"),
        f"--kubeconfig={cluster.paths.kubeconfigs / 'node.yaml'}",
        *("patch", "node", "gpu-sandbox-0", "--patch", patch),
        check=False,
    )
    assert result.returncode != 0
    assert "is not allowed to modify labels" in result.stderr


def test_admission_policies_work(cluster: RunningSandbox) -> None:
    api = "admissionregistration.k8s.io/v1"
    policy = {
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "test-no-forbidden"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ]
            },
            "validations": [{"expression": "object.metadata.name != 'forbidden'", "message": "not this one"}],
        },
    }
    binding = {
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "test-no-forbidden"},
        "spec": {"policyName": "test-no-forbidden", "validationActions": ["Deny"]},
    }
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, binding]})
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    try:
        deadline = time.monotonic() + 10  # the API server takes a policy up a moment after it was written
        while True:
            result = cluster.kubectl("create", "configmap", "forbidden", "--dry-run=server", check=False)
            if result.returncode != 0 or time.monotonic() > deadline:
                break
        assert "not this one" in result.stderr
    finally:
        cluster.kubectl("delete", "-f", "-", stdin=manifest)


def test_partitionable_devices_keep_their_counters(cluster: RunningSandbox) -> None:
    pool = {"name": "test-pool", "generation": 1, "resourceSliceCount": 2}
    counters = {"gpu-0-counters": {"slices": {"value": "7"}}}

    def resource_slice(name: str, **content: object) -> dict[str, object]:
        spec = {"driver": "test.example", "pool": pool, "nodeName": "elsewhere", **content}
        return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name}, "spec": spec}

    sets = resource_slice("test-sets", sharedCounters=[{"name": "gpu-0", "counters": counters["gpu-0-counters"]}])
    device = {
        "name": "part",
        "consumesCounters": [{"counterSet": "gpu-0", "counters": {"slices": {"value": "1"}}}],
        "taints": [{"key": "test.example/ill", "effect": "NoSchedule"}],
        "allowMultipleAllocations": True,
    }
    devices = resource_slice("test-devices", devices=[device])
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": [sets, devices]})
    try:
        cluster.kubectl("apply", "-f", "-", stdin=manifest)
        kept = json.loads(cluster.kubectl("get", "resourceslice", "test-devices", "-o", "json").stdout)["spec"][
            "devices"
        ]
        assert kept[0].keys() >= {"consumesCounters", "taints", "allowMultipleAllocations"}
    finally:
        cluster.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=manifest)
