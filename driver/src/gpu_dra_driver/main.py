"""The command `gpu-dra-driver`: settings in, a running driver, an exit status out.

Owns the process: arguments, logging, signals, status. Everything else is imported only when the settings are right, so `--help`
and a mistake answer at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from gpu_dra_driver import logs
from gpu_dra_driver.settings import Settings, SettingsError, load

log = logging.getLogger("gpu_dra_driver")

EXIT_FAILED, EXIT_USAGE = 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit status."""
    try:
        settings = load(sys.argv[1:] if argv is None else argv, os.environ)
    except SettingsError as error:
        sys.stderr.write(f"gpu-dra-driver: the settings are wrong (see --help):\n{error}\n")
        return EXIT_USAGE
    logs.configure(settings.log_level, settings.log_format)
    return run(settings)


def run(settings: Settings) -> int:
    """Starts the driver, waits for its end, stops it."""
    from gpu_dra_driver.driver import Driver, StartError, StoppedError  # noqa: PLC0415
    from gpu_dra_driver.layout import LayoutRefusedError  # noqa: PLC0415
    from gpu_dra_driver.registration import SocketPathError  # noqa: PLC0415

    driver = Driver(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: driver.end())
    try:
        driver.start()
        failure = driver.wait()
    except StoppedError:
        failure = None
    except (LayoutRefusedError, SocketPathError, StartError) as error:
        failure = str(error)
    finally:
        driver.stop()
    if failure is not None:
        log.error("%s", failure)
        return EXIT_FAILED
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
