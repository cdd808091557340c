"""How a plugin process of the Pulumi engine lives: serve gRPC on loopback, print the port, end on a signal.

Owns the start, the port line and the signals, shared by all stand-ins. Knows no service.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent import futures
from types import FrameType
from typing import NoReturn

import grpc

# The limit the SDK itself uses: a stack with large inputs exceeds gRPC's default of 4 MiB.
MAX_MESSAGE_BYTES = 400 * 1024 * 1024
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)


def new_server(workers: int) -> grpc.Server:
    """A server whose calls may each block a thread for minutes, as awaits do."""
    return grpc.server(futures.ThreadPoolExecutor(max_workers=workers), options=CHANNEL_OPTIONS)


def listen(server: grpc.Server) -> int:
    """Start the server on a free loopback port and return the port."""
    port: int = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return port


def abort(context: grpc.ServicerContext, code: grpc.StatusCode, text: str) -> NoReturn:
    """End the call with an error the engine shows."""
    context.abort(code, text)
    raise AssertionError("abort() of gRPC raises")  # for the type checker: gRPC ships no types


def serve_until_signalled(server: grpc.Server, before_exit: Callable[[], None]) -> None:
    """Print the port, then serve until the engine sends SIGINT or SIGTERM, or is gone.

    The engine ends every plugin with SIGINT after Cancel. Python's default handler would print a traceback, which the
    engine shows to the user as a diagnostic of their stack, so the process leaves at once, without unwinding.
    """

    def leave(_signal: int = 0, _frame: FrameType | None = None) -> None:
        before_exit()
        sys.stdout.flush()
        os._exit(0)

    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=_outlive, args=(os.getppid(), leave), daemon=True).start()
    print(listen(server), flush=True)
    server.wait_for_termination()


def _outlive(engine: int, leave: Callable[[], None]) -> None:
    """Leave soon after the engine, which cannot send a signal when it is killed.

    Asked once a second: the kernel's own notice (PR_SET_PDEATHSIG) comes when the thread that started the process ends,
    and the threads of a Go program come and go.
    """
    while os.getppid() == engine:
        time.sleep(1.0)
    leave()
