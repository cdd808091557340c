"""Housekeeping: what nobody calls for. Applies the layout to GPUs that became free, releases stale claims, looks for changes.

Owns when this happens: when a claim was released, and every few minutes. What happens is `hardware`'s, `state`'s and
`publish`'s. Sleeps otherwise.
"""

from __future__ import annotations

import logging
import threading
import time

from gpu_dra_driver.hardware import Hardware
from gpu_dra_driver.kube import KubeError
from gpu_dra_driver.nvml import NvmlError
from gpu_dra_driver.publish import Publisher
from gpu_dra_driver.state import NodeState

log = logging.getLogger(__name__)

_PERIOD_SECONDS = 300.0
_RETRY_SECONDS = 15.0


class Housekeeping:
    """A loop for a thread of its own."""

    def __init__(
        self, hardware: Hardware, state: NodeState, publisher: Publisher, period: float = _PERIOD_SECONDS
    ) -> None:
        self._hardware = hardware
        self._state = state
        self._publisher = publisher
        self._period = period
        self._wake = threading.Event()
        self._stopped = False

    def claim_released(self) -> None:
        """A claim was unprepared. If a GPU still waits for its layout, this may be the moment."""
        if self._hardware.unfinished:
            self._wake.set()

    def apply_layout(self) -> bool:
        """Applies the declared layout where it can be; True if anything changed."""
        with self._state.exclusive():
            return self._hardware.apply_layout(self._state.held_gpus, self._state.promised_gpus)

    def run(self) -> None:
        """Works until `stop`."""
        pause = self._period
        next_sweep = time.monotonic() + self._period
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._stopped:
                return
            try:
                if time.monotonic() >= next_sweep:
                    self._state.sweep()
                    self._hardware.refresh()
                    next_sweep = time.monotonic() + self._period
                self.apply_layout()
                self._publisher.reconcile()
                pause = _RETRY_SECONDS if self._hardware.waits_for_the_api else max(next_sweep - time.monotonic(), 0)
            except (KubeError, NvmlError, OSError) as error:
                log.warning("housekeeping: %s; trying again", error)
                pause = _RETRY_SECONDS

    def stop(self) -> None:
        """Lets `run` end."""
        self._stopped = True
        self._wake.set()
