"""A service behind the gateway that writes down every request that reaches it, read as strictly as can be."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

REQUEST_LINE = re.compile(rb"([A-Z]+) ([\x21-\x7e]+) HTTP/1\.1")
FIELD = re.compile(rb"([A-Za-z0-9-]+): ([\x20-\x7e\x80-\xff]*)")
# The client that these tests are, and the gateway itself, send no others.
LINE_LIMIT = 2**20


@dataclass
class Seen:
    """One request as it arrived; `complete` once its body's last byte did."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False

    def values(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given.lower() == name.lower()]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path


class Recorder:
    """`seen` are the requests of all connections in order; `unreadable` what was none."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.unreadable: list[bytes] = []
        self.url = ""

    def about(self, word: str) -> list[Seen]:
        """Return the requests whose target names `word`."""
        return [one for one in self.seen if word in one.target]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = self._read_head(await reader.readuntil(b"\r\n\r\n"))
                self.seen.append(request)
                await self._read_body(request, reader)
                request.complete = True
                # A moment, so that requests and answers of several clients are under way at once.
                await asyncio.sleep(0.002)
                body = json.dumps({"target": request.target, "bytes": len(request.body)}).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + (b"" if request.method == "HEAD" else body))
                await writer.drain()
        except ValueError:
            self.unreadable.append(b"")
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _read_head(self, data: bytes) -> Seen:
        request_line, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
        found = REQUEST_LINE.fullmatch(request_line)
        fields = [FIELD.fullmatch(line) for line in lines]
        if found is None or None in fields:
            self.unreadable.append(data)
            raise ConnectionResetError
        headers = [(one[1].decode("latin-1"), one[2].decode("latin-1")) for one in fields if one]
        return Seen(found[1].decode(), found[2].decode(), headers)

    async def _read_body(self, request: Seen, reader: asyncio.StreamReader) -> None:
        lengths, codings = request.values("Content-Length"), request.values("Transfer-Encoding")
        if len(lengths) + len(codings) > 1:
            raise ValueError
        if lengths:
            request.body += await reader.readexactly(int(lengths[0]))
        elif codings:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                request.body += await reader.readexactly(size)
                if await reader.readexactly(2) != b"\r\n":
                    raise ValueError
            if await reader.readexactly(2) != b"\r\n":
                raise ValueError

    async def run(self, ready: threading.Event, ended: asyncio.Event) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LINE_LIMIT)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await ended.wait()
        server.close()


@contextmanager
def recording() -> Iterator[Recorder]:
    """Run a recorder in a thread of its own until the block ends."""
    recorder, ready = Recorder(), threading.Event()
    loop, ended = asyncio.new_event_loop(), asyncio.Event()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(recorder.run(ready, ended))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        ready.wait()
        yield recorder
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
