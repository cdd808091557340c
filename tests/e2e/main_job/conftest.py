"""The sandbox stack, applied by the real Pulumi engine to the shared cluster: images loaded, `sandbox stack up` run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from tests.sandboxes import RunningSandbox

DRIVER_NAMESPACE = "gpu-dra-driver"
DEMO_NAMESPACE = "demo"

Found = TypeVar("Found")


@dataclass(frozen=True)
class Demo:
    """A cluster with the stack on it, and short ways to look at it."""

    cluster: RunningSandbox

    def get(self, *arguments: str) -> Any:
        """`kubectl get ARGUMENTS -o json`, decoded."""
        return json.loads(self.cluster.kubectl("get", *arguments, "-o", "json").stdout)

    def devices(self) -> dict[str, Any]:
        """Every published device by name."""
        slices = self.get("resourceslices")["items"]
        return {device["name"]: device for each in slices for device in each["spec"]["devices"]}

    def pods(self, namespace: str = DEMO_NAMESPACE) -> list[Any]:
        """Pods that are not on their way out."""
        found: list[Any] = self.get("pods", "-n", namespace)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def pod_of(self, workload: str) -> str:
        """The name of the one pod of a workload of the trio."""
        names = [
            pod["metadata"]["name"]
            for pod in self.pods()
            if pod["metadata"]["name"].startswith(f"fashion-mnist-{workload}-")
        ]
        assert len(names) == 1, f"{workload} has pods {names}"
        return str(names[0])

    def execute(self, workload: str, *command: str, check: bool = True) -> str:
        """Standard output and error of a command inside a workload's container."""
        answer = self.cluster.kubectl("exec", "-n", DEMO_NAMESPACE, self.pod_of(workload), "--", *command, check=check)
        return answer.stdout + answer.stderr

    def held_devices(self) -> dict[str, str]:
        """Which device each pod of the demo holds, by pod name."""
        held = {}
        for claim in self.get("resourceclaims", "-n", DEMO_NAMESPACE)["items"]:
            status = claim.get("status", {})
            for consumer in status.get("reservedFor", []):
                (result,) = status["allocation"]["devices"]["results"]
                held[consumer["name"]] = result["device"]
        return held

    def workload_image(self) -> str:
        """The small image with Python that the sandbox was loaded with."""
        return str(json.loads((self.cluster.state_dir / "images.json").read_text())["workload"])

    def stack(self, *arguments: str) -> str:
        """Output of `sandbox stack ARGUMENTS`, which must succeed."""
        return self.cluster.sandbox("stack", *arguments).stdout


def claiming_pod(name: str, device_class: str, container: dict[str, Any]) -> dict[str, Any]:
    """A claim and a pod of that name in the namespace default, as one List."""
    request = {"name": "gpu", "exactly": {"deviceClassName": device_class}}
    metadata = {"name": name, "namespace": "default"}
    claim = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": metadata,
        "spec": {"devices": {"requests": [request]}},
    }
    spec = {
        "restartPolicy": "Never",
        "resourceClaims": [{"name": "gpu", "resourceClaimName": name}],
        "containers": [{**container, "resources": {"claims": [{"name": "gpu"}]}}],
    }
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [claim, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}],
    }


def eventually(look: Callable[[], Found | None], seconds: float, what: str) -> Found:
    """The first value that is neither None nor an exception; an AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    problem: object = "never true"
    while time.monotonic() < deadline:
        try:
            found = look()
            if found is not None:
                return found
        except (AssertionError, KeyError, ValueError) as error:
            problem = error
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {seconds} s ({problem})")


@pytest.fixture(scope="session")
def demo(cluster: RunningSandbox) -> Iterator[Demo]:
    cluster.sandbox("images", "load")
    cluster.sandbox("stack", "up")
    yield Demo(cluster)
    cluster.sandbox("stack", "destroy")
