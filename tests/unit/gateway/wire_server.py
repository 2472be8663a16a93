"""A service made of bytes: it notes what it is sent, and answers whatever the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Answer = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class WireServer:
    """`heads` are those of the requests, in order; `connections` how many were made."""

    def __init__(self, answer: Answer) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.url = ""
        self._answer = answer
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                self.asked.set()
                await self._answer(head, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def drop_connections(self) -> None:
        """Close every connection, as a service that restarts does."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def wire_server(answer: Answer) -> AsyncIterator[WireServer]:
    """Serve on a free port until the block ends."""
    wire = WireServer(answer)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        wire.drop_connections()


def saying(data: bytes, *, close: bool = False) -> Answer:
    """Answer every request with these bytes."""

    async def answer(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            writer.close()
            raise ConnectionResetError

    return answer


def ok(body: bytes = b"fine") -> bytes:
    """Write a plain answer."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
