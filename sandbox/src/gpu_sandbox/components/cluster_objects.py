"""The few objects every sandbox has from the start: its identity, and the rights of what runs outside of pods.

Run as a program it applies them (server-side, so that a second run changes nothing) and waits until the `kubernetes`
service has an endpoint.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from gpu_sandbox.components.model import Component, Context, ExitProbe, Group
from gpu_sandbox.settings import INNER_API_PORT, Settings, StatePaths, read_settings

IDENTITY_CONFIG_MAP = ("kube-system", "gpu-sandbox")
_FIELD_MANAGER = "gpu-sandbox"
_ENDPOINT_TIMEOUT = 20.0


def component(context: Context) -> Component:
    return Component(
        name="cluster-objects",
        group=Group.CONTROL_PLANE,
        after=("kube-apiserver",),
        argv=(sys.executable, "-P", "-m", "gpu_sandbox.components.cluster_objects", str(context.paths.root)),
        ready=ExitProbe(),
    )


def objects(settings: Settings) -> tuple[dict[str, Any], ...]:
    """The objects as manifests."""
    namespace, name = IDENTITY_CONFIG_MAP
    return (
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": namespace, "name": name},
            "data": {
                "id": settings.sandbox_id,
                "board": settings.board,
                "gpus": str(settings.gpus),
                "simulated": "true",
            },
        },
        # The API server asks the kubelet for logs, exec and port-forward under this name.
        _binding("gpu-sandbox:kubelet-api", "system:kubelet-api-admin", "kube-apiserver-kubelet-client"),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "gpu-sandbox:coredns"},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["services", "pods", "namespaces"],
                    "verbs": ["list", "watch"],
                },
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        },
        _binding("gpu-sandbox:coredns", "gpu-sandbox:coredns", "gpu-sandbox:coredns"),
    )


def _binding(name: str, role: str, user: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }


_PLURALS = {"ConfigMap": "configmaps", "ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings"}


def url_path(manifest: dict[str, Any]) -> str:
    """Where the API keeps an object of this kind."""
    api_version, metadata = manifest["apiVersion"], manifest["metadata"]
    base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    namespace = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{base}{namespace}/{_PLURALS[manifest['kind']]}/{metadata['name']}"


class ApiError(Exception):
    """The API server refused a request."""


def _request(connection: http.client.HTTPSConnection, method: str, path: str, body: object = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/apply-patch+yaml"}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    response = connection.getresponse()
    content = response.read()
    if response.status >= 300:
        raise ApiError(f"{method} {path}: {response.status} {content.decode(errors='replace')}")
    document: dict[str, Any] = json.loads(content)
    return document


def _apply_all(paths: StatePaths, settings: Settings) -> None:
    tls = ssl.create_default_context(cafile=str(paths.pki / "ca.crt"))
    tls.load_cert_chain(paths.pki / "admin.crt", paths.pki / "admin.key")
    connection = http.client.HTTPSConnection("127.0.0.1", INNER_API_PORT, context=tls, timeout=20)
    for manifest in objects(settings):
        _request(connection, "PATCH", f"{url_path(manifest)}?fieldManager={_FIELD_MANAGER}&force=true", body=manifest)
    deadline = time.monotonic() + _ENDPOINT_TIMEOUT
    while not _request(connection, "GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices")["items"]:
        if time.monotonic() > deadline:
            raise ApiError("the kubernetes service got no endpoint")
        time.sleep(0.05)


def main(state_dir: str) -> None:
    paths = StatePaths(Path(state_dir))
    settings = read_settings(paths)
    if settings is None:
        sys.exit(f"{paths.settings} is missing")
    try:
        _apply_all(paths, settings)
    except (ApiError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1])
