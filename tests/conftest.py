"""The two sandboxes tests share, each started once per session and only when a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gpu_sandbox.lifecycle import Options
from gpu_sandbox.settings import Extent
from tests.sandboxes import RunningSandbox, free_port, running


@pytest.fixture(scope="session")
def api_server() -> Iterator[RunningSandbox]:
    """etcd and the API server only: ready in about three seconds, no node, no controllers."""
    with running("a", Options(api_port=free_port(), extent=Extent.API)) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def cluster() -> Iterator[RunningSandbox]:
    """A whole cluster with one node and eight simulated GPUs. Tests that break it start their own."""
    with running("c", Options(api_port=free_port())) as sandbox:
        yield sandbox
