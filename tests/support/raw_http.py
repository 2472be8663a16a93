"""HTTP by hand: bytes out, answers in, for requests that no client library would send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE_S = 20.0


@dataclass(frozen=True)
class RawAnswer:
    """One answer: its status line, its headers by lower-case name, its body."""

    status_line: str
    headers: dict[str, list[str]]
    body: bytes

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.status_line.split(" ")[1])


class RawClient:
    """A connection that sends what it is told and reads one answer after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    def pause_reading(self) -> None:
        """Take nothing more of what comes."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    async def answer(self, method: str = "GET") -> RawAnswer:
        """Read the next answer; raises IncompleteReadError where the connection ends first."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.rstrip("\r\n").split("\r\n")
            headers: dict[str, list[str]] = {}
            for line in lines:
                name, _, value = line.partition(":")
                headers.setdefault(name.lower(), []).append(value.strip())
            body = b""
            if method != "HEAD" and "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"][0]))
            elif "transfer-encoding" in headers:
                while size := int(await self.reader.readline(), 16):
                    body += await self.reader.readexactly(size)
                    await self.reader.readline()
                await self.reader.readline()
            return RawAnswer(status_line, headers, body)

    async def rest(self) -> bytes:
        """Read until the connection ends; a reset counts as its end."""
        read = b""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while data := await self.reader.read(65536):
                    read += data
            except ConnectionError:
                pass
        return read


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[RawClient]:
    """Connect to the host and port of `url`."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**22)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


async def ask(url: str, request: bytes, method: str = "GET") -> RawAnswer:
    """Send one request on a connection of its own and return its answer."""
    async with connect(url) as client:
        await client.send(request)
        return await client.answer(method)
