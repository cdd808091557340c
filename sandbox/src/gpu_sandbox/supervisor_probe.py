"""Asks a component whether it is ready. Every question is short, never raises for "not yet", and changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import urllib.parse
from pathlib import Path

from gpu_sandbox.components.model import AllProbes, ExitProbe, HttpProbe, Probe, SocketProbe

_TIMEOUT = 2.0


class Prober:
    """Answers probes, with the sandbox's certificates."""

    def __init__(self, pki: Path) -> None:
        self._pki = pki
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def is_ready(self, probe: Probe) -> bool:
        match probe:
            case ExitProbe():
                return False  # told by the exit itself
            case AllProbes(probes):
                for each in probes:
                    if not await self.is_ready(each):
                        return False
                return True
            case SocketProbe(path):
                connect = asyncio.open_unix_connection(path)
                with contextlib.suppress(OSError, TimeoutError):
                    _, writer = await asyncio.wait_for(connect, _TIMEOUT)
                    writer.close()
                    return True
                return False
            case HttpProbe():
                with contextlib.suppress(OSError, TimeoutError, ValueError, EOFError):
                    status, body = await asyncio.wait_for(self._get(probe), _TIMEOUT)
                    return status == 200 and probe.accept(body)
                return False

    async def _get(self, probe: HttpProbe) -> tuple[int, bytes]:
        url = urllib.parse.urlsplit(probe.url)
        context = self._context(probe.client) if url.scheme == "https" else None
        reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=context)
        try:
            # HTTP/1.0: the answer ends with the connection, and is not chunked.
            writer.write(f"GET {url.path} HTTP/1.0\r\nHost: {url.netloc}\r\nAccept: application/json\r\n\r\n".encode())
            answer = await reader.read(-1)
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        status_line = head.split(b"\r\n", 1)[0].split()
        if len(status_line) < 2:
            raise EOFError("no answer")
        return int(status_line[1]), body

    def _context(self, client: str) -> ssl.SSLContext:
        if client not in self._contexts:
            context = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
            if client:
                context.load_cert_chain(self._pki / f"{client}.crt", self._pki / f"{client}.key")
            self._contexts[client] = context
        return self._contexts[client]
