"""A request's body on its way from its connection to whoever reads it: its next bytes, all of it, or none."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final, Protocol

from aiohttp import hdrs, web

from shared.errors import KeepsakeError, RequestTimeout, TooLarge, UnsupportedMedia
from shared.http.chunked import ChunkedBody

# Above so many held bytes of an upload its client is not read from. One read gives up to 256 KiB, so up to 320 are held.
HELD_BYTES = 64 * 1024
IDLE_S = 30.0
MIB = 2**20
# How long, and how much, is read on after an early refusal (RFC 9112 section 9.6).
LINGER_S = 2.0
LINGER_BYTES = 16 * MIB
BODILESS = frozenset({204, 304})  # answers that never have a body (RFC 9110 sections 15.3.5 and 15.4.5)


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
    `received` counts the bytes that came, and `arrived` says that no more will. `held_back` says that the client waits to be
    told to send it (RFC 9110 section 10.1.1).
    """

    __slots__ = (
        "_chunks", "_dropped", "_flow", "_gone", "_held", "_lent", "_paused", "_pieces", "_waiter", "arrived",
        "held_back", "length", "received",
    )  # fmt: skip

    def __init__(self, flow: Flow, length: int | None, *, held_back: bool = False) -> None:
        self.length = length
        self.received = 0
        self.arrived = length == 0
        self.held_back = held_back
        self._flow = flow
        self._chunks = ChunkedBody() if length is None else None
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._lent = 0  # the piece that the reader has
        self._paused = False
        self._dropped = False
        self._gone = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def complete(self) -> bool:
        return self.arrived and not self._pieces

    def feed(self, data: bytes, at: int = 0) -> int:
        """Take what of `data[at:]` is the body's, and return where what follows it begins. Raises BrokenChunks."""
        if self._chunks is not None:
            pieces, end = self._chunks.feed(data, at)
            piece = b"".join(pieces)  # one for each read: a reader takes thousands without a pause
            self.arrived = self._chunks.complete
        else:
            end = min(len(data), at + (self.length or 0) - self.received)
            piece = data[at:end]
        self.held_back = False
        self.received += len(piece)
        self.arrived = self.arrived or self.received == self.length
        if piece and not self._dropped:
            self._held += len(piece)
            self._pieces.append(piece)
            if not self.arrived and self._held > HELD_BYTES:
                self._paused = True
                self._flow.pause_body()
        if piece or self.arrived:  # a size line alone says nothing to whoever reads
            self._wake()
        return end

    def fail(self) -> None:
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self, idle_s: float = IDLE_S) -> bytes:
        """Return the next bytes as they came, or `b""` at the end.

        Raises RequestTimeout when none came for `idle_s` seconds, and ClientGone where the connection is lost.
        """
        self._held -= self._lent  # until now the reader was busy with the last piece: it counts as held for so long
        self._lent = 0
        if self._paused:
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

    def whole(self) -> bytes | None:
        """Return all of it, if it has arrived and nobody has read of it; it can still be read."""
        return b"".join(self._pieces) if self.arrived and self._held == self.received and not self._lent else None

    async def _wait(self, idle_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(idle_s, _expire, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def drop(self) -> None:
        """Forget what nobody read, and what is still to come."""
        self._dropped = True
        self._pieces.clear()
        self._held = self._lent = 0
        if self._paused:
            self._resume()

    def _resume(self) -> None:
        if self._held <= HELD_BYTES:
            self._paused = False
            self._flow.resume_body()


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(RequestTimeout("The upload stood still for too long. Please try again.", "body_timeout"))


BODY: Final = web.RequestKey("BODY", Body)


def require_unencoded(request: web.BaseRequest) -> None:
    """Raise UnsupportedMedia for a body under a `Content-Encoding` (RFC 9110 section 8.4)."""
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMedia("Send the body without Content-Encoding.", "content_encoding_not_supported")


def size_text(size_bytes: int) -> str:
    """Write a limit as a person reads it: `5 MiB`, `64 KiB`, `1500 bytes`."""
    for unit, name in ((MIB, "MiB"), (1024, "KiB")):
        if size_bytes >= unit and size_bytes % unit == 0:
            return f"{size_bytes // unit} {name}"
    return f"{size_bytes} bytes"


async def continue_body(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send its body; at most once, and only where it waits. Raises ClientGone."""
    if not request[BODY].held_back:
        return
    request[BODY].held_back = False
    try:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    except ConnectionError as error:
        raise ClientGone from error
    request.writer.output_size = 0  # the answer itself has not begun


async def read_bytes(request: web.BaseRequest, *, max_bytes: int) -> bytes:
    """Return the whole body; raises TooLarge as soon as it is known to be over `max_bytes`."""
    body = request[BODY]
    if (body.length or 0) <= max_bytes:
        await continue_body(request)
        pieces = []
        while piece := await body.read():
            pieces.append(piece)
            if body.received > max_bytes:
                break
        else:
            return b"".join(pieces)
    raise TooLarge(f"The request body is too large: at most {size_text(max_bytes)}.")


async def discard_body(request: web.BaseRequest, *, max_s: float = LINGER_S, max_bytes: int = LINGER_BYTES) -> None:
    """After an early refusal, read the rest of the body for at most `max_s` seconds, and throw it away.

    If the connection were closed at once, TCP would reset it, and the client would lose the answer. After `max_bytes` nothing
    more is read until the time is over: a proxy looks for an answer only where it cannot send.
    """
    if request[BODY].held_back:
        return
    with suppress(ConnectionError, TimeoutError, KeepsakeError):
        async with asyncio.timeout(max_s):
            while chunk := await request[BODY].read():
                max_bytes -= len(chunk)
                if max_bytes <= 0:
                    await asyncio.sleep(max_s)


class RequestContent:
    """What aiohttp reads a request's body from, so that `read()`, `text()`, `json()` and `post()` see what we see.

    Limits of aiohttp's own apply to them (`client_max_size`). All else that a stream of aiohttp's has is missing here, so
    that whoever calls it fails at once: read with the functions above.
    """

    request: web.BaseRequest

    async def readany(self) -> bytes:
        """Return the next bytes, `b""` at the end; raises as `Body.read` does."""
        await continue_body(self.request)
        return await self.request[BODY].read()

    def at_eof(self) -> bool:
        return self.request[BODY].complete

    def set_read_chunk_size(self, _size: int) -> None:
        """Ignore a size that suits aiohttp's own stream."""

    def set_exception(self, _error: BaseException, _cause: BaseException | None = None) -> None:
        """Ignore a lost connection: its body knows."""
