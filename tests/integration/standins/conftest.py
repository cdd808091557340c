"""Stacks run by the real engine, with the stand-ins, against a real API server."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_sandbox.standins.install import environment
from tests.integration.standins.stacks import Kubectl, Stack


@pytest.fixture(scope="session")
def kubeconfig(api_server: Any) -> Path:
    return Path(api_server.kubeconfig)


@pytest.fixture(scope="session")
def kubectl(kubeconfig: Path) -> Kubectl:
    return Kubectl(kubeconfig)


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own; it goes with the API server, which has no controller to empty it."""
    test: str = request.node.name
    name = "standins-" + test.removeprefix("test_").replace("_", "-")[:40].strip("-") + f"-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    kubectl("create", "serviceaccount", "default", "-n", name)
    return name


@pytest.fixture(scope="session")
def pulumi_environment(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    state = tmp_path_factory.mktemp("sandbox-state")
    # A plugin that is missing must fail the test at once, not be looked for on the network.
    return environment(state) | {
        "KUBECONFIG": str(kubeconfig),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }


@pytest.fixture
def new_stack(pulumi_environment: dict[str, str], tmp_path: Path) -> Callable[[str], Stack]:
    """Makes stacks: each in a project directory and a backend of its own, with the home's plugins."""

    def make(name: str) -> Stack:
        directory, backend = tmp_path / name, tmp_path / f"{name}-backend"
        directory.mkdir()
        backend.mkdir()
        (directory / "Pulumi.yaml").write_text(f"name: {name}\nruntime: python\n")
        stack = Stack(directory, pulumi_environment | {"PULUMI_BACKEND_URL": f"file://{backend}"}, backend)
        stack.run("stack", "init", "test").ok()
        return stack

    return make
