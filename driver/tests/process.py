"""The driver as a process of its own, started as its image starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

_KEPT = {"PATH", "LANG"}


class DriverProcess:
    """A running driver; its log goes to a file."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        inherited = {name: value for name, value in os.environ.items() if name in _KEPT}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-m", "gpu_dra_driver.main"],
                env=inherited | environment,
                stdout=output,
                stderr=output,
            )

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self._log.read_text()

    def wait_for(self, pattern: str, timeout: float = 30) -> str:
        """Waits until the log matches; returns the match."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self.process.poll()
            match = re.search(pattern, self.log)
            if match:
                return match.group(0)
            if ended is not None or time.monotonic() > deadline:
                raise AssertionError(
                    f"the driver {'ended' if ended is not None else 'never logged'} /{pattern}/:\n{self.log}"
                )
            time.sleep(0.02)

    def wait(self, timeout: float = 30) -> int:
        """Waits for its end; returns the exit status."""
        return self.process.wait(timeout)

    def stop(self) -> int:
        """SIGTERM, as kubelet sends it; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.wait()
