"""One connection to a service: a request goes out, its answer comes in, never more than a bounded buffer of either held."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import cast

from gateway.upstream.errors import BadGateway, LostConnection, UpstreamTimeout
from gateway.upstream.response_head import HEAD_END, MAX_HEAD_BYTES, Head, parse_head
from shared.http.chunked import BrokenChunks, ChunkedBody

HIGH_WATER_BYTES = 256 * 1024
LOW_WATER_BYTES = 64 * 1024
WRITE_HIGH_WATER_BYTES = 64 * 1024
WRITE_IDLE_S = 30.0
READ_IDLE_S = 60.0


class UpstreamConnection(asyncio.Protocol):
    """A connection that serves one exchange at a time; between exchanges it is idle, and any byte then ends it."""

    def __init__(self, on_lost: Callable[[UpstreamConnection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._method = ""
        self._busy = False
        self._head: Head | None = None
        self._unread_head = bytearray()
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._left = 0  # of a body of known length
        self._chunked: ChunkedBody | None = None
        self._complete = False
        self._failure: BaseException | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._write_paused = False
        self._read_paused = False
        self._deadline: asyncio.TimerHandle | None = None
        self.exchanges = 0
        self.idle_since = 0.0

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits, unless the end of the connection is the end of the body."""
        self._transport = None
        self._stop_deadline()
        if self._busy and not self._complete:
            head = self._head
            ends_the_body = head is not None and not head.chunked and head.length is None
            if exc is None and self._failure is None and ends_the_body:
                self._complete = True
                self._wake_reader()
            elif head is None and not self._unread_head:
                self.fail(LostConnection("closed before an answer"))
            else:
                self.fail(BadGateway("closed within an answer"))
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Let `drain` wait."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Let `drain` go on."""
        self._write_paused = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Read the head, then pass the body on; bytes nobody asked for end the connection."""
        if not self._busy or self._complete:
            self.abort()
            return
        try:
            if self._head is None:
                data = self._read_head(data)
            if data:
                self._read_body(data)
        except BadGateway as error:
            self.fail(error)
        except BrokenChunks:
            self.fail(BadGateway("chunks"))

    def _read_head(self, data: bytes) -> bytes:
        """Gather the head; return what of the body came with it."""
        unread, searched_from = self._unread_head, max(0, len(self._unread_head) - len(HEAD_END) + 1)
        if unread:
            data = bytes(unread) + data
            unread.clear()
        while (end := data.find(HEAD_END, searched_from)) >= 0:
            end += len(HEAD_END)
            head, data = parse_head(data[:end], self._method), data[end:]
            if head.status == 101:
                raise BadGateway("101")
            if head.status >= 200:
                self._begin_body(head)
                return data
            searched_from = 0  # an interim answer (RFC 9110 section 15.2) says nothing about the final one
        if len(data) > MAX_HEAD_BYTES:
            raise BadGateway("head too large")
        unread += data
        return b""

    def _begin_body(self, head: Head) -> None:
        self._stop_deadline()
        self._head = head
        self._left = head.length or 0
        self._chunked = ChunkedBody() if head.chunked else None
        self._complete = head.length == 0 and not head.chunked
        self._wake_reader()

    def _read_body(self, data: bytes) -> None:
        head = self._head
        if head is None:
            return
        if self._complete:
            raise BadGateway("bytes after the body")
        if self._chunked is not None:
            pieces, end = self._chunked.feed(data)
            for piece in pieces:
                self._keep(piece)
            if end < len(data):
                raise BadGateway("bytes after the body")
            self._complete = self._chunked.complete
        elif head.length is not None:
            if len(data) > self._left:
                raise BadGateway("bytes after the body")
            self._left -= len(data)
            self._keep(data)
            self._complete = not self._left
        else:
            self._keep(data)
        self._wake_reader()
        if self._buffered > HIGH_WATER_BYTES and not self._read_paused and self._transport is not None:
            self._transport.pause_reading()
            self._read_paused = True

    def _keep(self, piece: bytes) -> None:
        self._chunks.append(piece)
        self._buffered += len(piece)

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # --- the exchange's side ---

    @property
    def is_usable(self) -> bool:
        """Whether an idle connection still stands: one that has something to read has ended, or is out of step."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    @property
    def answered(self) -> bool:
        """Whether the head of the answer is here."""
        return self._head is not None

    @property
    def complete(self) -> bool:
        """Whether the whole answer is here."""
        return self._complete

    def begin(self, method: str, data: bytes) -> None:
        """Send the head of a request, and what of its body is at hand."""
        self._method = method
        self._busy = True
        self._head = None
        self._complete = False
        self.exchanges += 1
        self.write(data)

    def write(self, data: bytes) -> None:
        """Send bytes; a connection that is gone takes them silently: reading the answer tells."""
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until there is room for more; raises UpstreamTimeout where the service takes nothing for 30 s."""
        if not self._write_paused or self._transport is None:
            return
        self._writer = self._loop.create_future()
        try:
            async with asyncio.timeout(WRITE_IDLE_S):
                await self._writer
        except TimeoutError:
            raise UpstreamTimeout from None
        finally:
            self._writer = None

    def expect_answer_within(self, seconds: float) -> None:
        """Fail the exchange with UpstreamTimeout unless the answer's head is here in time; call after the last byte."""
        if self._head is None and self._failure is None:
            self._deadline = self._loop.call_later(seconds, self.fail, UpstreamTimeout())

    async def head(self) -> Head:
        """Return the answer's head once it is here."""
        while self._head is None or self._failure is not None:
            await self._wait()
        return self._head

    async def read(self) -> bytes:
        """Return the body's next bytes, as many as there are, or `b""` at its end."""
        chunks = self._chunks
        while not chunks:
            if self._failure is not None:
                raise self._failure
            if self._complete:
                return b""
            timer = self._loop.call_later(READ_IDLE_S, self.fail, UpstreamTimeout())
            try:
                await self._wait()
            finally:
                timer.cancel()
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._buffered = 0
        if self._read_paused and self._transport is not None:
            self._transport.resume_reading()
            self._read_paused = False
        return data

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._reader = self._loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def fail(self, error: BaseException) -> None:
        """End the exchange: whoever waits for the answer gets `error`, and the service a connection cut short."""
        if self._failure is None:
            self._failure = error
        self._stop_deadline()
        self._wake_reader()
        self.abort()

    def finish(self) -> bool:
        """End the exchange; tell whether the connection can serve another."""
        self._stop_deadline()
        head = self._head
        fit = (
            self._complete
            and head is not None
            and head.keep_alive
            and self._failure is None
            and self._transport is not None
            and not self._transport.is_closing()
            and not self._write_paused
        )
        self._busy = False
        self._chunks.clear()
        self._buffered = 0
        if not fit:
            self.abort()
        elif self._read_paused and self._transport is not None:
            self._transport.resume_reading()
            self._read_paused = False
        self.idle_since = self._loop.time()
        return fit

    def abort(self) -> None:
        """Cut the connection: a request that was not complete must never look so."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        if self._transport is not None:
            self._transport.close()
