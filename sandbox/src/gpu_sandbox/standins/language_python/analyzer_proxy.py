"""Stands between the engine and a policy pack, so that the pack knows its stack from its first line on.

A pack reads stack, project and configuration from its environment when it starts, but the engine sends them in
ConfigureStack, which it can call only after it has a port. So the proxy has the port: it answers Handshake, starts the
pack at ConfigureStack with what it was told, and passes every other call through as bytes. It never reads a resource.
"""

import json
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from pulumi.runtime.proto import analyzer_pb2

from gpu_sandbox.standins.language_python.children import Chunk, PipedChild
from gpu_sandbox.standins.plugin_server import CHANNEL_OPTIONS, abort, listen, new_server

_SERVICE = "pulumirpc.Analyzer"
# What a pack may take to import its modules and begin to listen.
_START_SECONDS = 120.0


def pack_environment(request: Any) -> dict[str, str]:
    """The variables `pulumi.policy` reads, from an AnalyzerStackConfigureRequest."""
    return {
        "PULUMI_ORGANIZATION": request.organization,
        "PULUMI_PROJECT": request.project,
        "PULUMI_STACK": request.stack,
        "PULUMI_DRY_RUN": "true" if request.dry_run else "false",
        "PULUMI_CONFIG": json.dumps(dict(request.config)),
    }


class AnalyzerProxy:
    """One policy pack behind one port. `start_pack` starts it with the extra environment given."""

    def __init__(self, start_pack: Callable[[Mapping[str, str]], PipedChild]) -> None:
        self._start_pack = start_pack
        self._lock = threading.Lock()
        self._child: PipedChild | None = None
        self._channel: grpc.Channel | None = None
        self._handshake = b""
        # What the pack printed, for the engine; None after its last word.
        self.output: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        self._server = new_server(workers=8)
        methods = [method.name for method in analyzer_pb2.DESCRIPTOR.services_by_name["Analyzer"].methods]
        handlers = {name: grpc.unary_unary_rpc_method_handler(self._handler(name)) for name in methods}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        self.port = listen(self._server)

    def exit_status(self) -> int:
        """The pack's exit status, 0 when it never started."""
        return self._child.wait() if self._child else 0

    def stop(self) -> None:
        """End the pack and the proxy."""
        self._server.stop(grace=None)
        if self._channel is not None:
            self._channel.close()
        if self._child is not None:
            self._child.stop()
        else:
            self.output.put(None)

    def _handler(self, method: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
            if method == "Handshake":
                self._handshake = request
                return b""
            if method == "Cancel" and self._channel is None:
                return b""
            extra = {}
            if method == "ConfigureStack":
                extra = pack_environment(analyzer_pb2.AnalyzerStackConfigureRequest.FromString(request))
            try:
                channel = self._pack_channel(extra)
            except PackError as error:
                abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
            try:
                return _call(channel, method, request)
            except grpc.RpcError as error:
                if method == "ConfigureStack" and error.code() == grpc.StatusCode.UNIMPLEMENTED:
                    return b""  # an older SDK: it has read its environment, which says the same
                abort(context, error.code(), error.details())

        return handle

    def _pack_channel(self, extra: Mapping[str, str]) -> grpc.Channel:
        with self._lock:
            if self._channel is None:
                self._child = self._start_pack(extra)
                port = self._read_port(self._child)
                self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS)
                try:
                    _call(self._channel, "Handshake", self._handshake, wait=True)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                        raise
            return self._channel

    def _read_port(self, child: PipedChild) -> int:
        """The pack's first line of stdout; everything else goes to the engine."""
        first_line: queue.SimpleQueue[str] = queue.SimpleQueue()

        def pump() -> None:
            head = b""
            told = False
            for chunk in child.output():
                if told or chunk.stream == "stderr":
                    self.output.put(chunk)
                    continue
                head += chunk.data
                line, newline, rest = head.partition(b"\n")
                if newline:
                    told = True
                    first_line.put(line.decode(errors="replace"))
                    if rest:
                        self.output.put(Chunk("stdout", rest))
            if not told:
                first_line.put(head.decode(errors="replace"))
            self.output.put(None)

        threading.Thread(target=pump, daemon=True).start()
        try:
            line = first_line.get(timeout=_START_SECONDS)
        except queue.Empty:
            raise PackError(f"the policy pack did not begin to listen within {_START_SECONDS:.0f} s") from None
        if not line.strip().isdigit():
            raise PackError(
                "the policy pack ended or wrote something before it began to listen"
                + (
                    f": {line.strip()!r}; print to stderr while a pack loads"
                    if line.strip()
                    else "; see its output above"
                )
            )
        return int(line)


class PackError(RuntimeError):
    """A policy pack did not start."""


def _call(channel: grpc.Channel, method: str, request: bytes, *, wait: bool = False) -> bytes:
    """One unary call, bytes in and out."""
    call = channel.unary_unary(f"/{_SERVICE}/{method}")
    answer: bytes = call(request, wait_for_ready=wait, timeout=_START_SECONDS if wait else None)
    return answer
