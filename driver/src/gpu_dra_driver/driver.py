"""The driver put together: which part starts when, and what is undone at the end.

Owns the order. Partitions and checkpoint come first, then the slices are published, then kubelet may find the sockets: a driver
that can be seen can also be used. At the end the registration goes first, and slices stay for the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc

from gpu_dra_driver import DRIVER_NAME
from gpu_dra_driver import metrics as metric_pages
from gpu_dra_driver.cdi import SpecBuilder, SpecFiles
from gpu_dra_driver.checkpoint import Checkpoint, read_boot_id
from gpu_dra_driver.discovery import DeviceNodes, LibraryNotFoundError, discover, find_library
from gpu_dra_driver.hardware import Hardware
from gpu_dra_driver.health import Health
from gpu_dra_driver.housekeeping import Housekeeping
from gpu_dra_driver.kube import Api, KubeError
from gpu_dra_driver.locks import KeyedLocks, ProcessLock
from gpu_dra_driver.metrics import Labels, Metrics
from gpu_dra_driver.nvml import LibraryUnusableError, Nvml, NvmlError
from gpu_dra_driver.paths import Root
from gpu_dra_driver.plugin import Plugin
from gpu_dra_driver.publish import Publisher
from gpu_dra_driver.recovery import recover
from gpu_dra_driver.registration import Registration, Sockets, remove_dead, socket_paths
from gpu_dra_driver.settings import Settings
from gpu_dra_driver.state import NodeState

log = logging.getLogger(__name__)

_CONTROL_NODE = "dev/nvidiactl"
_CALLS_AT_ONCE = 8
_GRACE_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 10.0

T = TypeVar("T")


class StoppedError(Exception):
    """The driver was told to stop while it was starting."""


class StartError(Exception):
    """The driver cannot start, and waiting would not help."""


class Driver:
    """One running driver. `start` returns when kubelet can use it; `wait` until it shall end; `stop` undoes the start."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._plugin_dir = settings.plugins_dir / DRIVER_NAME
        self._ending = threading.Event()
        self._failure: str | None = None
        self._undo: list[Callable[[], object]] = []

    def end(self, failure: str | None = None) -> None:
        """Asks the driver to stop, from any thread or signal handler."""
        self._failure = self._failure or failure
        self._ending.set()

    def wait(self) -> str | None:
        """Blocks until `end`; returns why the driver failed, or None for an orderly end."""
        self._ending.wait()
        return self._failure

    def start(self) -> None:
        """Brings everything up. Raises StartError, LayoutRefusedError, SocketPathError, or StoppedError."""
        begin = time.perf_counter()
        settings = self._settings
        try:
            self._plugin_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
            settings.registrar_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as error:
            raise StartError(f"cannot make kubelet's plugin folders: {error}") from error
        sockets = socket_paths(settings.registrar_dir, self._plugin_dir, settings.pod_uid)
        health = self._start_health()
        try:
            api = Api(settings.kubeconfig, settings.node_name)
        except KubeError as error:
            raise StartError(str(error)) from error
        self._undo.append(api.close)
        locks = KeyedLocks()
        nvml = self._patiently("open NVML", self._open_nvml, LibraryNotFoundError, LibraryUnusableError, NvmlError)
        self._undo.append(nvml.close)
        hardware = self._patiently("list the GPUs", lambda: Hardware(nvml, settings.sysfs, locks), NvmlError)
        hardware.declare(settings.mig_config, settings.mig_config_file)

        state = self._make_state(api, hardware, locks)
        metrics = Metrics(settings.node_name, lambda: _gauges(state, hardware))
        publisher = Publisher(api, settings.node_name, lambda: hardware.inventory, metrics)
        housekeeping = Housekeeping(hardware, state, publisher)
        self._patiently("publish the devices", publisher.reconcile, KubeError)

        self._start_threads(publisher, housekeeping)
        self._start_metrics(metrics)
        self._serve(sockets, state, metrics, housekeeping)
        health.serve(sockets)
        log.info(
            "ready after %.0f ms: driver %s, %d devices, socket %s",
            (time.perf_counter() - begin) * 1000, hardware.driver_version, len(hardware.inventory.devices), sockets.plugin,
        )  # fmt: skip

    def stop(self) -> None:
        """Undoes the start, last step first. Slices and claims stay: containers go on running."""
        self._ending.set()
        while self._undo:
            try:
                self._undo.pop()()
            except Exception:
                log.exception("while stopping")

    def _patiently(self, what: str, call: Callable[[], T], *waits_for: type[Exception]) -> T:
        """Tries until it works: the API server or the kernel driver may come up after this pod. Each new reason is logged once."""
        pause, last = 0.5, ""
        while True:
            try:
                return call()
            except waits_for as error:
                if str(error) != last:
                    last = str(error)
                    log.warning("cannot %s yet: %s", what, last)
            if self._ending.wait(pause):
                raise StoppedError(what)
            pause = min(pause * 2, _LONGEST_RETRY_SECONDS)

    def _open_nvml(self) -> Nvml:
        try:
            return Nvml(find_library(self._settings.driver_root_ctr))
        except NvmlError as error:
            if (_dev_root(self._settings).ctr / _CONTROL_NODE).exists() and not (Path("/") / _CONTROL_NODE).exists():
                # A privileged container's /dev is what the host had when the container started; waiting changes nothing.
                raise StartError(
                    f"{error}. The GPUs' device nodes appeared after this container had started; restarting it shows them"
                ) from error
            raise

    def _make_state(self, api: Api, hardware: Hardware, locks: KeyedLocks) -> NodeState:
        settings = self._settings
        root = Root(settings.driver_root, settings.driver_root_ctr)
        dev_root = _dev_root(settings)
        nodes = DeviceNodes(dev_root, settings.proc_driver, settings.proc_devices, settings.sysfs)
        boot_id = read_boot_id()
        checkpoint = Checkpoint(self._plugin_dir / "checkpoint.json", boot_id)
        spec_files = SpecFiles(settings.cdi_root)
        process_lock = ProcessLock(self._plugin_dir / "serialize.lock")
        state = NodeState(
            pool=settings.node_name,
            boot_id=boot_id,
            api=api,
            hardware=hardware,
            specs=SpecBuilder(root, discover(root, hardware.driver_version), nodes),
            spec_files=spec_files,
            checkpoint=checkpoint,
            process_lock=process_lock,
            locks=locks,
        )

        def recovered() -> None:
            recover(
                checkpoint=checkpoint,
                spec_files=spec_files,
                api=api,
                pool=settings.node_name,
                devices=hardware.inventory.devices,
            )

        with process_lock.holding():
            self._patiently("recover the checkpoint", recovered, KubeError)
            self._patiently(
                "apply the layout",
                lambda: hardware.apply_layout(state.held_gpus, state.promised_gpus),
                KubeError,
                NvmlError,
            )
        process_lock.on_entering(checkpoint.load_if_changed)
        return state

    def _start_threads(self, publisher: Publisher, housekeeping: Housekeeping) -> None:
        for name, run, stop in (
            ("publish", publisher.run, publisher.stop),
            ("housekeeping", housekeeping.run, housekeeping.stop),
        ):
            threading.Thread(target=run, name=name, daemon=True).start()
            self._undo.append(stop)

    def _start_health(self) -> Health:
        health = Health()
        if self._settings.health_port is not None:
            server = grpc.server(ThreadPoolExecutor(2, thread_name_prefix="health"))
            server.add_generic_rpc_handlers((health.service(),))
            port = _bind(server, f"[::]:{self._settings.health_port}")
            server.start()
            log.debug("health is served on port %d", port)
            self._undo += [partial(_stop_server, server, 0.0), health.stop]
        return health

    def _start_metrics(self, metrics: Metrics) -> None:
        address = self._settings.metrics_address
        if address is not None:
            try:
                self._undo.append(metric_pages.serve(metrics, address, self._settings.metrics_path))
            except OSError as error:
                raise StartError(f"cannot serve metrics on {address[0]}:{address[1]}: {error}") from error

    def _serve(self, sockets: Sockets, state: NodeState, metrics: Metrics, housekeeping: Housekeeping) -> None:
        workers = ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="claim")
        plugin = Plugin(state, metrics, workers, housekeeping.claim_released)
        registration = Registration(
            sockets.plugin, lambda reason: self.end(f"kubelet refused the registration: {reason}")
        )
        remove_dead(self._settings.registrar_dir, self._plugin_dir)
        # Two servers, so that the registration socket appears when the plugin's socket already answers.
        for path, handlers in ((sockets.plugin, plugin.services()), (sockets.registration, [registration.service()])):
            server = grpc.server(ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix=path.stem))
            server.add_generic_rpc_handlers(tuple(handlers))
            _bind(server, f"unix:{path}")
            server.start()
            self._undo.append(partial(_stop_server, server, _GRACE_SECONDS))
        self._undo.append(sockets.remove)


def _bind(server: Any, address: str) -> int:
    try:
        return int(server.add_insecure_port(address))
    except RuntimeError as error:
        raise StartError(f"cannot listen on {address}: {error}") from error


def _stop_server(server: Any, grace: float) -> None:
    server.stop(grace).wait()


def _dev_root(settings: Settings) -> Root:
    """Where device nodes are: a driver container brings its own dev/, a driver installed on the host uses the host's."""
    if settings.dev_root is None:
        in_driver_root = (settings.driver_root_ctr / _CONTROL_NODE).exists()
        return Root(settings.driver_root, settings.driver_root_ctr) if in_driver_root else Root(Path("/"), Path("/"))
    if settings.dev_root == settings.driver_root:
        return Root(settings.driver_root, settings.driver_root_ctr)
    return Root(settings.dev_root, settings.dev_root)


def _gauges(state: NodeState, hardware: Hardware) -> Mapping[str, Mapping[Labels, float]]:
    layout: dict[Labels, float] = {}
    for outcome in list(hardware.outcomes.values()):
        key = (("state", outcome.state),)
        layout[key] = layout.get(key, 0.0) + 1
    prepared: dict[Labels, float] = {
        (("device_type", kind), ("driver", DRIVER_NAME)): float(count)
        for kind, count in state.prepared_by_kind().items()
    }
    return {
        "nvidia_dra_prepared_devices": prepared,
        "gpu_dra_driver_gpu_problems": {(): float(len(hardware.inventory.problems))},
        "gpu_dra_driver_layout_gpus": layout,
    }
