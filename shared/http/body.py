"""A request's body on its way from its connection to whoever reads it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

# Held of each upload before its client must wait: the one piece that a read of the socket gives, at most 256 KiB.
HELD_BYTES = 64 * 1024


class ClientGone(ConnectionResetError):
    """The client hung up before its body was complete: there is nobody to answer, and no fault of ours to log."""


class Flow(Protocol):
    """What a body comes from, and how it is held up."""

    def pause_body(self) -> None:
        """Let no more bytes in; may be said again."""

    def resume_body(self) -> None:
        """Let bytes in again."""


class Body:
    """The bytes of one body, in the pieces in which they came, and how it ended; for one reader.

    aiohttp's own parser and stream never see them: they would copy each piece, and wake the handler at twice the cost.
    `length` is what the head promised, in bytes: None where the body is chunked, 0 where there is none.
    `received` counts the bytes that came, and `arrived` says that no more will.
    """

    __slots__ = (
        "_dropped", "_flow", "_gone", "_held", "_lent", "_paused", "_pieces", "_waiter", "arrived", "length", "received",
    )  # fmt: skip

    def __init__(self, flow: Flow, length: int | None) -> None:
        self.length = length
        self.received = 0
        self.arrived = length == 0
        self._flow = flow
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._lent = 0  # the piece that the reader has
        self._paused = False
        self._dropped = False
        self._gone = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether all of it has come and was read."""
        return self.arrived and not self._pieces

    def feed(self, data: bytes) -> None:
        """Take the next bytes, at least one."""
        self.received += len(data)
        if self.received == self.length:
            self.arrived = True
        if self._dropped:
            return
        self._held += len(data)
        self._pieces.append(data)
        if not self.arrived and self._held > HELD_BYTES:
            self._paused = True
            self._flow.pause_body()
        self._wake()

    def feed_end(self) -> None:
        """Take note that a chunked body is complete."""
        self.arrived = True
        self._wake()

    def fail(self) -> None:
        """Take note that the client is gone."""
        self._gone = True
        self._wake()

    async def read(self, idle_s: float) -> bytes:
        """Return the next piece, or `b""` at the end.

        Raises ClientGone, and TimeoutError where nothing came for `idle_s` seconds.
        """
        if self._lent:  # until now the reader was busy with the last piece: it counts as held for so long
            self._held -= self._lent
            self._lent = 0
            self._resume()
        if not self._pieces and not self.arrived and not self._gone:
            await self._wait(idle_s)
        if self._gone and not self.complete:
            raise ClientGone
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        self._lent = len(piece)
        return piece

    def drop(self) -> None:
        """Forget what nobody read, and what is still to come."""
        self._dropped = True
        self._pieces.clear()
        self._held = self._lent = 0
        self._resume()

    def _resume(self) -> None:
        if self._paused and self._held <= HELD_BYTES:
            self._paused = False
            self._flow.resume_body()

    async def _wait(self, idle_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(idle_s, _expire, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
