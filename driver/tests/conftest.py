"""What the tests share: a real API server, simulated GPUs, a node with kubelet's folders, the driver as a process."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import simulated_gpus
from tests.cluster import Cluster, binaries
from tests.kubelet import Kubelet
from tests.process import DriverProcess
from tests.simulated_gpus import SimulatedGpus


@pytest.fixture(scope="session")
def _gpus_available() -> None:
    if os.geteuid() != 0:
        pytest.skip("simulated GPUs need device nodes, which only root can make")
    reason = simulated_gpus.unavailable()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short path: pytest's own are too long for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="drv-") as name:
        yield Path(name)


@pytest.fixture
def install_gpus(folder: Path, _gpus_available: None) -> Callable[..., SimulatedGpus]:
    """Makes simulated GPUs: (board, count, mig=…)."""

    def install(board: str = "a100-sxm4-40gb", count: int = 1, *, mig: bool = True) -> SimulatedGpus:
        return simulated_gpus.install(folder / "driver-root", board, count, mig=mig)

    return install


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One API server for all tests."""
    programs = binaries()
    if programs is None:
        pytest.skip(
            "etcd and kube-apiserver are missing: run `sandbox toolchain build`, or set GPU_SANDBOX_BIN to their folder"
        )
    started = Cluster(tmp_path_factory.mktemp("cluster"), programs)
    yield started
    started.stop()


@pytest.fixture
def cluster(running_cluster: Cluster) -> Cluster:
    """The API server without slices and claims of an earlier test."""
    running_cluster.delete_slices()
    running_cluster.delete_claims()
    return running_cluster


@dataclass
class Node:
    """One node: its folders, its GPUs, its kubelet, and the driver processes that were started on it."""

    folder: Path
    cluster: Cluster
    gpus: SimulatedGpus
    kubelet: Kubelet
    cdi: Path
    drivers: list[DriverProcess] = field(default_factory=list)

    @property
    def checkpoint(self) -> Path:
        return self.kubelet.plugins_dir / "gpu.nvidia.com/checkpoint.json"

    def spec(self, claim: dict[str, dict[str, str]]) -> Path:
        return self.cdi / f"k8s.gpu.nvidia.com-claim_{claim['metadata']['uid']}.yaml"

    def start_driver(self, *, ready: bool = True, **settings: str) -> DriverProcess:
        """Starts the driver and, if it is to become ready, registers it with kubelet."""
        environment = {
            "NODE_NAME": self.cluster.node_name,
            "CDI_ROOT": str(self.cdi),
            "KUBECONFIG": str(self.cluster.driver_kubeconfig()),
            "HEALTHCHECK_PORT": "-1",
            **self.gpus.environment(),
            **self.kubelet.environment(),
            **settings,
        }
        driver = DriverProcess(self.folder / f"driver-{len(self.drivers)}.log", environment)
        self.drivers.append(driver)
        if ready:
            driver.wait_for(r"ready after .*")
            self.kubelet.register()
        return driver


@pytest.fixture
def make_node(
    folder: Path, cluster: Cluster, install_gpus: Callable[..., SimulatedGpus]
) -> Iterator[Callable[..., Node]]:
    """Makes the node: (board, count, mig=…, kubelet=…)."""
    made: list[Node] = []

    def make(
        board: str = "a100-sxm4-40gb", count: int = 1, *, mig: bool = True, kubelet: Kubelet | None = None
    ) -> Node:
        kubelet = kubelet or Kubelet(folder)
        node = Node(folder, cluster, install_gpus(board, count, mig=mig), kubelet, folder / "cdi")
        made.append(node)
        return node

    yield make
    for node in made:
        node.kubelet.close()
        for driver in node.drivers:
            driver.kill()


def eventually(condition: Callable[[], Any], timeout: float = 15) -> Any:
    """Waits until the condition holds; returns what it gave last."""
    deadline = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value
