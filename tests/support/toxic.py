"""A TCP proxy before an outside system, whose manners a test changes while it runs, from any thread."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

CHUNK_BYTES = 64 * 1024
PIECES_PER_S = 20
CHANGE_TIMEOUT_S = 10
ESTABLISHED = 1  # of TCP_INFO: neither side has closed
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Manner:
    """How connections fare: refused, silent, `delay_s` late, at `bytes_per_s`, or reset after so many bytes of answers."""

    refuses: bool = False
    is_silent: bool = False
    delay_s: float = 0.0
    bytes_per_s: float = math.inf
    cut_after: float = math.inf

    @property
    def piece_bytes(self) -> int:
        """How much goes at once."""
        return CHUNK_BYTES if math.isinf(self.bytes_per_s) else max(1, int(self.bytes_per_s / PIECES_PER_S))


PASS = Manner()
REFUSE = Manner(refuses=True)
BLACK_HOLE = Manner(is_silent=True)
TRICKLE = Manner(bytes_per_s=20)
CUT = Manner(cut_after=1)


class _CutError(Exception):
    """This connection is to be reset."""


class ToxicProxy:
    """Listens at `port`, passes on to `target`; its loop runs in a thread of its own, so that it outlives a test's loop."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._manner = PASS
        self._changed = asyncio.Event()
        self._links: dict[socket.socket, asyncio.Task[None]] = {}
        self._accepting: asyncio.Task[None] | None = None
        # Bound and never listening: it keeps the port for us while connections to it are refused.
        self._place = self._bound(0)
        self.port: int = self._place.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"toxic {self.port}", daemon=True)

    @staticmethod
    def _bound(port: int) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", port))
        return sock

    def _do(self, work: Callable[[], ResultT]) -> ResultT:
        """Run in the proxy's thread, and wait for it."""

        async def doing() -> ResultT:
            return work()

        return asyncio.run_coroutine_threadsafe(doing(), self._loop).result(CHANGE_TIMEOUT_S)

    @property
    def manner(self) -> Manner:
        """How connections fare now; what is set counts from there on, for open connections too."""
        return self._manner

    @manner.setter
    def manner(self, manner: Manner) -> None:
        self._do(lambda: self._change(manner))

    @property
    def connections(self) -> int:
        """How many connections stand that the client has not closed."""
        return self._do(
            lambda: sum(
                link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED for link in self._links
            )
        )

    def open(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._do(lambda: self._change(PASS))

    def close(self) -> None:
        """Cut every connection, and end the thread."""

        async def ending() -> None:
            self._change(REFUSE)
            await asyncio.gather(*self._links.values(), return_exceptions=True)
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(ending(), self._loop).result(CHANGE_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.close()

    def _change(self, manner: Manner) -> None:
        self._manner = manner
        self._changed.set()
        self._changed = asyncio.Event()
        if manner.refuses:
            for task in (self._accepting, *self._links.values()):
                if task is not None:
                    task.cancel()
            self._accepting = None
        elif self._accepting is None:
            listening = self._bound(self.port)
            listening.listen(128)
            self._accepting = self._loop.create_task(self._accept(listening))

    async def _accept(self, listening: socket.socket) -> None:
        with listening:
            while True:
                client, _ = await self._loop.sock_accept(listening)
                client.setblocking(False)
                self._links[client] = self._loop.create_task(self._link(client))

    async def _link(self, client: socket.socket) -> None:
        try:
            with client, socket.socket() as server, suppress(OSError):
                server.setblocking(False)
                await self._audible()
                await self._loop.sock_connect(server, self._target)
                ways = [
                    self._loop.create_task(self._relay(client, server, is_answer=False)),
                    self._loop.create_task(self._relay(server, client, is_answer=True)),
                ]
                try:
                    done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    if any(isinstance(way.exception(), _CutError) for way in done):
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
        finally:
            del self._links[client]

    async def _relay(self, source: socket.socket, sink: socket.socket, *, is_answer: bool) -> None:
        passed, counted_for = 0, self._manner
        while data := await self._loop.sock_recv(source, CHUNK_BYTES):
            while data:
                manner = await self._audible()
                if manner is not counted_for:
                    passed, counted_for = 0, manner
                piece = data[: manner.piece_bytes]
                if is_answer:
                    piece = piece[: int(min(len(piece), manner.cut_after - passed))]
                if lateness_s := manner.delay_s + len(piece) / manner.bytes_per_s:
                    await asyncio.sleep(lateness_s)
                await self._loop.sock_sendall(sink, piece)
                data = data[len(piece) :]
                passed += len(piece)
                if is_answer and passed >= manner.cut_after:
                    raise _CutError

    async def _audible(self) -> Manner:
        """Return the manner, once it is not silent: what waited meanwhile then goes on, as on a network that heals."""
        while self._manner.is_silent:
            await self._changed.wait()
        return self._manner


@contextmanager
def toxic_proxy(url: str) -> Iterator[tuple[ToxicProxy, str]]:
    """Put a proxy before the server at `url`; give it, and the same address through it."""
    parts = urlsplit(url)
    proxy = ToxicProxy((parts.hostname or "127.0.0.1", parts.port or 0))
    proxy.open()
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    try:
        yield proxy, parts._replace(netloc=f"{user}127.0.0.1:{proxy.port}").geturl()
    finally:
        proxy.close()
