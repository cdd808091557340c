"""A program for tests: does one operation on a node's folder and dies by kill -9 at the n-th effect.

Effects are what the interpreter's audit hook sees below the folder: files opened for writing, renamed and removed. So every
boundary between two effects is tried, whatever the driver's code looks like.

    python -m tests.crashing_node FOLDER DRIVER_ROOT EFFECT OPERATION CLAIM…     (CLAIM: uid:device)
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.local_node import ClaimList, LocalNode, claim
from tests.simulated_gpus import SimulatedGpus


def main() -> None:
    folder, driver_root, effect, operation, *claims = sys.argv[1:]
    below = str(Path(folder))
    countdown = int(effect)
    armed = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal countdown
        if not armed or event not in {"open", "os.rename", "os.remove"} or not str(arguments[0]).startswith(below):
            return
        if event == "open" and not (int(arguments[2]) & (os.O_WRONLY | os.O_RDWR)):
            return
        countdown -= 1
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    wanted = [claim(("r", device), uid=uid) for uid, _, device in (each.partition(":") for each in claims)]
    known = ClaimList({(each.namespace, each.name): each for each in wanted})
    node = LocalNode(Path(folder), SimulatedGpus(Path(driver_root)), known)
    armed = True
    for each in wanted:
        node.prepare(each) if operation == "prepare" else node.unprepare(each)


if __name__ == "__main__":
    main()
