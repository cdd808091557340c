"""The one door between the host and the sandbox: passes TCP connections on to the API server, byte for byte.

Runs inside the sandbox's network namespace but accepts on a socket that was opened outside, on the host's 127.0.0.1
(file descriptor 3): a socket stays in the namespace it was made in. It sees TLS only and holds no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from gpu_sandbox.settings import INNER_API_PORT

LISTENER_FD = 3
_CHUNK = 1 << 16
_BACKLOG = 512


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        # Half-close: the other direction may still have something to say, as at the end of `kubectl cp`.
        writer.write_eof()
    except OSError:
        writer.close()


async def _connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    try:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        # The API server is down; the client sees a closed connection and says so.
        await _close(writer)
        return
    for stream in (writer, inner_writer):
        connection: socket.socket = stream.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
    await _close(writer)
    await _close(inner_writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def serve(listener: socket.socket, port: int) -> None:
    """Pass everything that `listener` accepts on to `port` of this namespace's loopback, until cancelled."""
    server = await asyncio.start_server(
        lambda reader, writer: _connect(reader, writer, port), sock=listener, backlog=_BACKLOG
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=LISTENER_FD), INNER_API_PORT))
