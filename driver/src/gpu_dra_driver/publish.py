"""Publishing: keeping this node's ResourceSlices in the API equal to the inventory.

Owns the pool's generation and the writing of slices. Unchanged slices are not written, at a restart either; slices that
somebody deletes (kubelet does when the driver was away) come back at once. What a device looks like is the catalogue's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gpu_catalog.slices import build_slices, same_slices
from gpu_dra_driver import DRIVER_NAME
from gpu_dra_driver.inventory import Inventory
from gpu_dra_driver.kube import Api, KubeError

log = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS = 30.0
# Two driver processes of a rolling update may differ in what they publish; this keeps them from racing each other.
_QUIET_SECONDS = 2.0


class Observer(Protocol):
    """Where failures are counted."""

    def publish_failed(self) -> None:
        """A write or a watch of slices failed."""


class Publisher:
    """Publishes the devices that `inventory` gives. `reconcile` may be called from any thread."""

    def __init__(self, api: Api, node_name: str, inventory: Callable[[], Inventory], observer: Observer) -> None:
        self._api = api
        self._node_name = node_name
        self._inventory = inventory
        self._observer = observer
        self._lock = threading.Lock()
        self._generation = 0
        self._own_writes: set[str] = set()
        self._stop = threading.Event()

    def reconcile(self) -> str:
        """Writes what differs; returns the version of the slices seen, for a watch. Raises KubeError."""
        with self._lock:
            published, version = self._api.slices()
            devices = self._inventory().published()
            self._generation = max([self._generation, *(each["spec"]["pool"]["generation"] for each in published)])
            wanted = build_slices(DRIVER_NAME, self._node_name, self._api.node_uid(), self._generation + 1, devices)
            if not same_slices(published, wanted):
                self._generation += 1
                self._write(published, wanted)
                log.info(
                    "published %d devices in %d slices, pool %s generation %d",
                    len(devices), len(wanted), self._node_name, self._generation,
                )  # fmt: skip
            return version

    def _write(self, published: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]) -> None:
        """Updates before it creates and creates before it deletes, so that no device is missing longer than needed."""
        reusable = {each["metadata"].get("generateName"): each for each in published}
        fresh: list[dict[str, Any]] = []
        written: list[dict[str, Any]] = []
        for each in wanted:
            old = reusable.pop(each["metadata"]["generateName"], None)
            if old is None:
                fresh.append(each)
                continue
            identity = {key: old["metadata"][key] for key in ("name", "resourceVersion", "uid")}
            written.append(self._api.replace_slice({**each, "metadata": {**each["metadata"], **identity}}))
        written += [self._api.create_slice(each) for each in fresh]
        kept = {each["metadata"]["name"] for each in written}
        for each in published:
            if each["metadata"]["name"] not in kept:
                self._api.delete_slice(each["metadata"]["name"])
        self._own_writes = {each["metadata"]["resourceVersion"] for each in written}
        if not same_slices(written, wanted):
            # Such a field would be missed at each comparison and written for ever if this were taken for a difference.
            log.error(
                "the API server changed or dropped fields of the published slices; is it older than Kubernetes 1.34?"
            )

    def run(self) -> None:
        """Watches the slices and puts back what others change, until `stop`. Errors are logged and tried again."""
        failures = 0
        while not self._stop.is_set():
            try:
                version = self.reconcile()
                failures = 0
                for kind, changed in self._api.watch_slices(version):
                    if self._stop.is_set():
                        return
                    if kind == "DELETED" or (kind in {"ADDED", "MODIFIED"} and changed not in self._own_writes):
                        break
                self._stop.wait(_QUIET_SECONDS)
            except KubeError as error:
                failures += 1
                self._observer.publish_failed()
                log.warning("publishing: %s; trying again", error)
                self._stop.wait(min(2.0**failures, _LONGEST_WAIT_SECONDS))

    def stop(self) -> None:
        """Lets `run` end. Slices stay: a restart must not look like the loss of all devices."""
        self._stop.set()
