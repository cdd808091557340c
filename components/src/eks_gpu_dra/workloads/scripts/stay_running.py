"""What the pod does around training: tell the readiness probe when it is done, then stay up until it is stopped."""

import os
import signal
import sys
import threading
from pathlib import Path

_stopped = threading.Event()


def before_training() -> None:
    """Makes the pod not ready again after a restart of its container, and lets it end at once on SIGTERM.

    As process 1 of the container it would otherwise ignore that signal.
    """
    Path(os.environ["TRAINING_DONE_FILE"]).unlink(missing_ok=True)

    def stop(_signal: int, _frame: object) -> None:
        _stopped.set()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)


def after_training(tier: str) -> None:
    """Writes the file that makes the pod ready, then returns only when the pod is stopped."""
    print(f"{tier}: training done", flush=True)
    Path(os.environ["TRAINING_DONE_FILE"]).touch()
    seconds = float(os.environ.get("HEARTBEAT_SECONDS", "60"))
    beats = 0
    while not _stopped.wait(seconds):
        beats += 1
        print(f"{tier}: still holding the slice, heartbeat {beats}", flush=True)
