"""A real API server for tests: etcd and kube-apiserver on free ports, TLS, token authentication, RBAC.

The driver gets an identity with exactly the rules that it needs, so a test fails when it begins to need another.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2

DRIVER_RULES = [
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
    {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims"], "verbs": ["get", "list"]},
    {"apiGroups": ["resource.k8s.io"], "resources": ["resourceslices"], "verbs": ["list", "watch", "create", "update", "delete"]},
]  # fmt: skip
_ADMIN_TOKEN, _DRIVER_TOKEN = "admin-of-this-test", "driver-of-this-test"
_RESOURCE = "/apis/resource.k8s.io/v1"


def binaries() -> Path | None:
    """The folder with etcd and kube-apiserver: $GPU_SANDBOX_BIN, or the toolchain's cache; None if there is none."""
    candidates = [os.environ.get("GPU_SANDBOX_BIN")]
    workspace = Path(__file__).resolve().parents[2] / ".venv/bin/sandbox"
    if workspace.exists():
        found = subprocess.run([workspace, "toolchain", "path"], capture_output=True, text=True, check=False)
        candidates.append(found.stdout.strip())
    for candidate in candidates:
        if candidate and all((Path(candidate) / name).is_file() for name in ("etcd", "kube-apiserver")):
            return Path(candidate)
    return None


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """A running API server with one node object."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.node_name = "node-a"
        client_port, peer_port, api_port = free_ports(3)
        self.server = f"https://127.0.0.1:{api_port}"
        self._key = folder / "service-account.key"
        subprocess.run(["openssl", "genrsa", "-out", self._key, "2048"], check=True, capture_output=True)
        (folder / "tokens.csv").write_text(f'{_ADMIN_TOKEN},admin,1,"system:masters"\n{_DRIVER_TOKEN},driver,2\n')
        try:
            self._bring_up(programs, client_port, peer_port, api_port)
        except BaseException:
            self._end_processes()
            raise

    def _bring_up(self, programs: Path, client_port: int, peer_port: int, api_port: int) -> None:
        self._start(
            programs / "etcd", "--data-dir", self._folder / "etcd", "--log-level", "error", "--unsafe-no-fsync",
            "--listen-client-urls", f"http://127.0.0.1:{client_port}", "--advertise-client-urls", f"http://127.0.0.1:{client_port}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer_port}",
        )  # fmt: skip
        self._start(
            programs / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client_port}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={api_port}", f"--cert-dir={self._folder}",
            f"--token-auth-file={self._folder / 'tokens.csv'}", "--authorization-mode=RBAC", "--anonymous-auth=false",
            f"--service-account-key-file={self._key}", f"--service-account-signing-key-file={self._key}",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.255.0.0/24",
            "--disable-admission-plugins=ServiceAccount",
        )  # fmt: skip
        self.admin = self._connect(_ADMIN_TOKEN)
        self.node_uid = ""
        self.create_node()
        self._allow_the_driver()

    def create_node(self) -> None:
        """Creates the node object."""
        self.node_uid = self._post("/api/v1/nodes", {"metadata": {"name": self.node_name}})["metadata"]["uid"]

    def _start(self, program: Path, *arguments: object) -> None:
        with (self._folder / f"{program.name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen([program, *map(str, arguments)], stdout=log, stderr=log, cwd=self._folder)
            )

    def _connect(self, token: str) -> httpx2.Client:
        certificate = self._folder / "apiserver.crt"
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            for process in self._processes:
                if process.poll() is not None:
                    logs = "".join(path.read_text()[-1500:] for path in self._folder.glob("*.log"))
                    raise RuntimeError(f"{process.args!r} ended:\n{logs}")
            if certificate.exists():
                client = httpx2.Client(
                    base_url=self.server,
                    verify=ssl.create_default_context(cafile=certificate),
                    headers={"Authorization": f"Bearer {token}"},
                    timeout=30,
                )
                try:
                    if client.get("/readyz").status_code == 200:
                        return client
                except httpx2.HTTPError:
                    pass
                client.close()
            time.sleep(0.2)
        raise RuntimeError("the API server did not become ready")

    def _allow_the_driver(self) -> None:
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        self._post(f"{rbac}/clusterroles", {"metadata": {"name": "driver"}, "rules": DRIVER_RULES})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "driver"}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "driver"}
        self._post(
            f"{rbac}/clusterrolebindings", {"metadata": {"name": "driver"}, "roleRef": role, "subjects": [subject]}
        )

    def stop(self) -> None:
        """Ends both programs."""
        self.admin.close()
        self._end_processes()
        shutil.rmtree(self._folder / "etcd", ignore_errors=True)

    def _end_processes(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(20)

    def driver_kubeconfig(self) -> Path:
        """A kubeconfig with the driver's own rights."""
        path = self._folder / "driver.kubeconfig"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.server, "certificate-authority": str(self._folder / "apiserver.crt")}}],
            "users": [{"name": "driver", "user": {"token": _DRIVER_TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "driver"}}],
        }  # fmt: skip
        path.write_text(json.dumps(document))
        return path

    def _post(self, path: str, document: Mapping[str, Any]) -> Any:
        answer = self.admin.post(path, json=document)
        assert answer.is_success, answer.text
        return answer.json()

    def slices(self) -> list[dict[str, Any]]:
        """All ResourceSlices, in the order of their names."""
        items: list[dict[str, Any]] = self.admin.get(f"{_RESOURCE}/resourceslices").json()["items"]
        return sorted(items, key=lambda each: each["metadata"]["name"])

    def device_names(self) -> list[str]:
        """Names of all published devices."""
        return [device["name"] for each in self.slices() for device in each["spec"].get("devices", [])]

    def delete_slices(self) -> None:
        """Deletes all ResourceSlices, as kubelet does when a driver was away."""
        self.admin.request("DELETE", f"{_RESOURCE}/resourceslices")

    def claim(self, devices: Mapping[str, str] | Iterable[tuple[str, str]], **options: Any) -> dict[str, Any]:
        """An allocated ResourceClaim: (request, device) pairs as the scheduler would have chosen them.

        Options: `configs` (the claim's opaque configurations), `admin` (bool), `pool`, `allocated` (False leaves it pending).
        """
        pairs = list(devices.items()) if isinstance(devices, Mapping) else list(devices)
        admin = bool(options.get("admin"))
        namespace = "test-admin" if admin else "default"
        requests: dict[str, dict[str, Any]] = {}
        for request, _device in pairs:
            main, _, alternative = request.partition("/")
            if alternative:
                requests[main] = {
                    "name": main,
                    "firstAvailable": [{"name": alternative, "deviceClassName": "gpu.nvidia.com"}],
                }
            else:
                count = sum(1 for other, _ in pairs if other == request)
                exactly: dict[str, Any] = {
                    "deviceClassName": "gpu.nvidia.com",
                    "count": count,
                    "allocationMode": "ExactCount",
                }
                requests[main] = {"name": main, "exactly": exactly | ({"adminAccess": True} if admin else {})}
        spec = {"devices": {"requests": list(requests.values()), "config": list(options.get("configs", ()))}}
        path = f"{_RESOURCE}/namespaces/{namespace}/resourceclaims"
        claim: dict[str, Any] = self._post(path, {"metadata": {"name": f"claim-{uuid.uuid4().hex[:10]}"}, "spec": spec})
        if options.get("allocated", True):
            claim = self.allocate(claim, pairs, **options)
        return claim

    def allocate(self, claim: dict[str, Any], pairs: Iterable[tuple[str, str]], **options: Any) -> dict[str, Any]:
        """Writes the allocation into a claim's status."""
        admin = {"adminAccess": True} if options.get("admin") else {}
        pool = options.get("pool", self.node_name)
        results = [
            {"request": request, "driver": "gpu.nvidia.com", "pool": pool, "device": device, **admin}
            for request, device in pairs
        ]
        configs = [{"source": "FromClaim", **config} for config in options.get("configs", ())]
        return self._set_status(claim, {"allocation": {"devices": {"results": results, "config": configs}}})

    def deallocate(self, claim: dict[str, Any]) -> dict[str, Any]:
        """Takes the allocation out of a claim's status."""
        return self._set_status(claim, {})

    def _set_status(self, claim: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
        path = self._path(claim)
        document = {**self.admin.get(path).json(), "status": status}
        answer = self.admin.put(f"{path}/status", json=document)
        assert answer.is_success, answer.text
        written: dict[str, Any] = answer.json()
        return written

    def delete_claim(self, claim: dict[str, Any]) -> None:
        """Deletes a claim."""
        assert self.admin.delete(self._path(claim)).is_success

    def delete_claims(self) -> None:
        """Deletes all claims."""
        for namespace in ("default", "test-admin"):
            self.admin.request("DELETE", f"{_RESOURCE}/namespaces/{namespace}/resourceclaims")

    def allow_admin_access(self) -> None:
        """Makes the namespace in which claims may ask for administrative access."""
        label = {"resource.kubernetes.io/admin-access": "true"}
        answer = self.admin.post("/api/v1/namespaces", json={"metadata": {"name": "test-admin", "labels": label}})
        assert answer.status_code in {201, 409}, answer.text

    @staticmethod
    def _path(claim: dict[str, Any]) -> str:
        return f"{_RESOURCE}/namespaces/{claim['metadata']['namespace']}/resourceclaims/{claim['metadata']['name']}"
