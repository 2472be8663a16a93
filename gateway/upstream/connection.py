"""One connection to a service: a request goes out, its answer comes in, never more than a bounded buffer of either held."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

from gateway.upstream.response_head import (
    HEAD_END,
    MAX_HEAD_BYTES,
    BadGateway,
    Head,
    LostConnection,
    UpstreamTimeout,
    parse_head,
)
from shared.http.chunked import BrokenChunks, ChunkedBody

if TYPE_CHECKING:
    from gateway.upstream.exchange import Address, Outgoing

HIGH_WATER_BYTES = 256 * 1024
WRITE_HIGH_WATER_BYTES = 64 * 1024
WRITE_IDLE_S = 30.0
READ_IDLE_S = 60.0


class UpstreamConnection(asyncio.Protocol):
    """A connection that serves one exchange at a time; between exchanges it is idle, and any byte then ends it.

    `head` is the answer's, to be read once `wait_for_head` has returned. `complete` says that all of the answer is here, so
    that `read` does not wait; `upload_complete` that all of the request was sent.
    """

    head: Head

    def __init__(self, address: Address) -> None:
        self.address = address
        self.exchanges = 0
        self.idle_since = 0.0
        self.complete = self.upload_complete = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._outgoing: Outgoing | None = None  # of the exchange under way
        self._upload: asyncio.Task[None] | None = None
        self._answered = False  # the head is here
        self._unread_head = bytearray()
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._left = 0  # of a body of known length
        self._chunked: ChunkedBody | None = None
        self._failure: BaseException | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._write_paused = self._read_paused = False
        self._deadline: asyncio.TimerHandle | None = None

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits, unless the end of the connection is the end of the body."""
        self._transport = None
        if self._outgoing is not None and not self.complete:
            ends_the_body = self._answered and not self.head.chunked and self.head.length is None
            if exc is None and self._failure is None and ends_the_body:
                self.complete = True
                self._wake_reader()
            elif self._answered or self._unread_head:
                self.fail(BadGateway("closed within an answer"))
            else:
                self.fail(LostConnection("closed before an answer"))
        self.resume_writing()
        self.address.forget(self)

    def pause_writing(self) -> None:
        """Let the upload wait."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Let the upload go on."""
        self._write_paused = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Read the head, then keep what comes of the body; bytes nobody asked for end the connection."""
        if self._outgoing is None or self.complete:
            self.abort()
            return
        try:
            if not self._answered:
                data = self._read_head(data, self._outgoing.method)
            if data:
                self._read_body(data)
        except BadGateway as error:
            self.fail(error)
        except BrokenChunks:
            self.fail(BadGateway("chunks"))
        self._wake_reader()

    def _read_head(self, data: bytes, method: str) -> bytes:
        """Gather the head; return what of the body came with it."""
        unread, searched_from = self._unread_head, max(0, len(self._unread_head) - len(HEAD_END) + 1)
        if unread:
            data = bytes(unread) + data
            unread.clear()
        while (end := data.find(HEAD_END, searched_from)) >= 0:
            end += len(HEAD_END)
            head, data = parse_head(data[:end], method), data[end:]
            if head.status == 101:
                raise BadGateway("101")
            if head.status >= 200:
                if self._deadline is not None:
                    self._deadline.cancel()
                self.head, self._answered = head, True
                self._left = head.length or 0
                self._chunked = ChunkedBody() if head.chunked else None
                self.complete = head.length == 0
                return data
            searched_from = 0  # an interim answer (RFC 9110 section 15.2) says nothing about the final one
        if len(data) > MAX_HEAD_BYTES:
            raise BadGateway("head too large")
        unread += data
        return b""

    def _read_body(self, data: bytes) -> None:
        pieces, excess, complete = [data], False, False
        if self._chunked is not None:
            pieces, end = self._chunked.feed(data)
            excess, complete = end < len(data), self._chunked.complete
        elif self.head.length is not None:
            self._left -= len(data)
            excess, complete = self._left < 0, not self._left
        if excess:
            raise BadGateway("bytes after the body")
        self._pieces += pieces
        self.complete = complete
        self._buffered += len(data)
        if self._buffered > HIGH_WATER_BYTES and not self._read_paused and self._transport is not None:
            self._transport.pause_reading()
            self._read_paused = True

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

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

    def start(self, outgoing: Outgoing) -> None:
        """Begin an exchange: send the head, what of the body is at hand, and the rest in a task as it comes.

        A connection that is gone takes all of it silently: reading the answer tells.
        """
        self._outgoing = outgoing
        self._answered = self.complete = False
        self.exchanges += 1
        if self._transport is not None:
            head = b"%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (
                outgoing.method.encode(), outgoing.target, self.address.host, outgoing.fields
            )  # fmt: skip
            self._transport.writelines((head, outgoing.body))
        self.upload_complete = outgoing.more is None
        if outgoing.more is None:
            self._deadline = self._loop.call_later(outgoing.first_byte_s, self._time_out)
        else:
            self._upload = asyncio.create_task(self._send_body(outgoing.more, outgoing.first_byte_s))

    async def _send_body(self, more: AsyncIterator[bytes], first_byte_s: float) -> None:
        """Send what comes of the body; fail the exchange where the service takes nothing for 30 s."""
        try:
            async for data in more:
                if self._transport is not None:
                    self._transport.write(data)
                if self._write_paused and self._transport is not None:
                    self._writer = self._loop.create_future()
                    async with asyncio.timeout(WRITE_IDLE_S):
                        await self._writer
        except TimeoutError:
            self.fail(UpstreamTimeout())
        except Exception as error:  # noqa: BLE001 - raised where the answer is awaited
            self.fail(error)
        else:
            self.upload_complete = True
            if not self._answered and self._failure is None:
                self._deadline = self._loop.call_later(first_byte_s, self._time_out)

    async def stop_upload(self) -> None:
        """Send no more of the body, and wait until nobody reads it."""
        if self._upload is not None and not self._upload.done():
            self._upload.cancel()
            await asyncio.wait([self._upload])

    def _time_out(self) -> None:
        self.fail(UpstreamTimeout())

    async def wait_for_head(self) -> None:
        """Return once the answer's head is here; raises BadGateway, UpstreamTimeout, or what reading the body raised."""
        while not self._answered or self._failure is not None:
            await self._wait()

    async def read(self) -> bytes:
        """Return the body's next bytes, as many as there are, or `b""` at its end."""
        pieces = self._pieces
        while not pieces:
            if self.complete and self._failure is None:
                return b""
            timer = self._loop.call_later(READ_IDLE_S, self._time_out)
            try:
                await self._wait()
            finally:
                timer.cancel()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
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
        if self._deadline is not None:
            self._deadline.cancel()
        self._wake_reader()
        self.abort()

    def finish(self) -> bool:
        """End the exchange; tell whether the connection can serve another, else cut it."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._upload is not None:
            self._upload.cancel()
        fit = (
            self.complete
            and self.upload_complete
            and self.head.keep_alive
            and self._failure is None
            and self._transport is not None
            and not self._transport.is_closing()
            and not self._write_paused
            and not self._read_paused
        )
        self._outgoing = None
        self._pieces.clear()
        self._buffered = 0
        if not fit:
            self.abort()
        self.idle_since = self._loop.time()
        return fit

    def abort(self) -> None:
        """Cut the connection: a request that was not complete must never look so."""
        if self._transport is not None:
            self._transport.abort()
