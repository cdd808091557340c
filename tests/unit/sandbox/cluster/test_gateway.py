"""The gateway passes bytes on as they are, in both directions, to the very end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from gpu_sandbox import gateway

_Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _through_gateway(inner: _Handler | None, use: Callable[[_Stream], Awaitable[None]]) -> None:
    """Run `use` on a connection through a gateway to a server that runs `inner`, or to a closed port."""

    async def main() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
        server = await asyncio.start_server(inner, "127.0.0.1", port) if inner else None
        listener = socket.create_server(("127.0.0.1", 0))
        running = asyncio.create_task(gateway.serve(listener, port))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        await asyncio.wait_for(use((reader, writer)), 10)
        writer.close()
        await writer.wait_closed()
        this = {running, asyncio.current_task()}
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task not in this))
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        if server:
            server.close()
            await server.wait_closed()

    asyncio.run(main())


def test_much_data_in_both_directions_at_once() -> None:
    data = bytes(range(256)) * 40_000

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    async def use(stream: _Stream) -> None:
        reader, writer = stream
        received = asyncio.ensure_future(reader.readexactly(len(data)))
        writer.write(data)
        await writer.drain()
        assert await received == data

    _through_gateway(echo, use)


def test_an_answer_after_the_clients_last_word_arrives() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(-1)
        writer.write(question.upper())
        writer.close()

    async def use(stream: _Stream) -> None:
        reader, writer = stream
        writer.write(b"question")
        writer.write_eof()
        assert await reader.read(-1) == b"QUESTION"

    _through_gateway(answer_at_the_end, use)


def test_a_server_that_hangs_up_ends_the_connection() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def use(stream: _Stream) -> None:
        assert await stream[0].read(-1) == b""

    _through_gateway(hang_up, use)


def test_without_a_server_the_connection_is_closed_at_once() -> None:
    async def use(stream: _Stream) -> None:
        assert await stream[0].read(-1) == b""

    _through_gateway(None, use)
