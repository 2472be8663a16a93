"""One client connection: aiohttp's own, with the checks on a request's head that aiohttp leaves out.

A head must be complete within 15 s and 32 KiB (slow senders hold a connection, not a parser), name HTTP/1.0 or 1.1 (aiohttp
would answer in whatever version was asked for), and never upgrades (RFC 9110 section 7.8 lets a server ignore it).
What the parser refuses is answered as problem+json instead of a text that repeats the hostile bytes.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod

from shared.errors import KeepsakeError, RequestTimeout
from shared.http.body import BODY, LINGER_BYTES, LINGER_S, Body, RequestContent
from shared.http.chunked import BrokenChunks
from shared.http.clients import PEER, UNKNOWN, Address, ConnectionLimiter, parse_address
from shared.http.problem import problem_message
from shared.http.request_head import malformed, method_not_taken, read_head

HEAD_TIMEOUT_S = 15.0
MAX_HEAD_BYTES = 32 * 1024
HEAD_END = b"\r\n\r\n"
ORIGIN = re.compile(rb"\r\norigin:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)


class HeadTooLarge(KeepsakeError):
    """The request's head is over its limit (RFC 6585)."""

    status = 431
    default_code = "headers_too_large"


class Connection(web.RequestHandler):
    """aiohttp's connection with a gate before its parser: a head is passed on whole and checked, or not at all.

    The gate takes the bodies, too, each into a `Body` of its own, by its length or by its chunks: the parser sees heads
    alone, so no broken chunk (aiohttp's would leave the handler waiting), no trailer (which it takes for headers of the
    next request), and nothing of the request behind before this one's end.
    `origins` are those that may read a refusal from here in a browser; `peer` is the client's address, or empty.
    """

    __slots__ = (
        "_arriving", "_discarding", "_half_open", "_head", "_head_timer", "_limiter", "_linger_left", "_passed",
        "answering", "bodies", "body", "client", "last", "origins", "peer", "unanswered",
    )  # fmt: skip

    def __init__(
        self,
        *args: Any,
        origins: frozenset[str] = frozenset(),
        limiter: ConnectionLimiter | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._limiter = limiter
        self.origins = origins
        self._head = bytearray()
        self._head_timer: asyncio.TimerHandle | None = None
        self._arriving: Body | None = None  # the body whose bytes come now
        self.bodies: deque[Body] = deque()  # of the heads passed on that wait for their turn
        self.body: Body | None = None  # of the request being answered
        self._passed = b""  # the head passed on last: a refusal of what follows it goes to the same page
        self._discarding = False  # what else comes is of no interest: the connection is about to close
        self._half_open = False
        self._linger_left = LINGER_BYTES
        self.answering = False  # the head of an answer is written; the middleware says so
        self.client = ""  # whose connection this is, as the limiter counts
        self.last = False  # the connection closes after the last answer
        self.peer: Address = UNKNOWN
        self.unanswered = 0  # heads passed on whose answer is still being made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head; note who is there, for the system forgets it with a reset."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = parse_address(peer[0]) or UNKNOWN
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self._head_is_late)
        if self._limiter is not None and not self._limiter.enter(self):
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        if self._arriving is not None:
            self._arriving.fail()
        if self._limiter is not None:
            self._limiter.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bodies on as they come, and heads when they are complete and fit."""
        if not data:  # aiohttp's own call to go on with what it holds
            super().data_received(data)
        at = 0
        while at < len(data):
            body = self._arriving
            if self.last and body is None:
                self._discarding = True  # behind a dropped upgrade comes the other protocol, whatever it looks like
            if self._discarding:
                self._linger_left -= len(data) - at
                if self._linger_left < 0:
                    self.pause_body()
                return
            if body is None:
                at = self._gather(data, at)
                continue
            try:
                at = body.feed(data, at)
            except BrokenChunks:
                self._refuse_body()
                return
            if body.arrived:
                self._arriving = None

    def pause_body(self) -> None:
        """Let no more bytes in: a body waits to be read. aiohttp's own way holds up its parser, too, which has nothing."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_body(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def stay_half_open(self) -> None:
        """Keep the connection when the client has sent all it will: whether it got its answer is still to be seen."""
        self._half_open = True

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own signature: True keeps the sending half
        """Close with the client, unless its answer must first be followed to its end; what it did not send never comes."""
        if self._arriving is not None:
            self._arriving.fail()
        self.last = self.last or self._half_open
        return self._half_open

    def request_ends(self) -> None:
        """Note that an answer was sent, and close after the last; the middleware calls this."""
        self.unanswered -= 1
        last = self.last and self.unanswered <= 0
        self.answering = self._half_open = False
        if self.body is not None:
            if not self.body.arrived:  # nobody wants the rest, and what follows it cannot be answered before it came
                self._discarding = last = True
            self.body.drop()
        if last:
            self.close()

    def _gather(self, data: bytes, at: int) -> int:
        """Take `data` from `at` on until a head is complete, and pass that on; return where what follows begins."""
        head = self._head
        while not head and data.startswith(b"\r\n", at):  # RFC 9112 section 2.2: empty lines before a request line
            at += 2
        held = len(head)
        head += data[at:] if held else b""
        end = head.find(HEAD_END, max(0, held - len(HEAD_END) + 1)) if held else data.find(HEAD_END, at) - at
        if end < 0 and not held:
            head += data[at:]
        if (end if end >= 0 else len(head)) > MAX_HEAD_BYTES:
            self._refuse(
                HeadTooLarge(f"The request's headers are over {MAX_HEAD_BYTES // 1024} KiB."), bytes(head) or data[at:]
            )
            return len(data)
        if end < 0:
            if head and self._head_timer is None:
                self._head_timer = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self._head_is_late)
            return len(data)
        end += len(HEAD_END)
        self._stop_head_timer()
        self._pass_on(bytes(head[:end]) if held else data[at : at + end])
        head.clear()
        return at + end - held

    def _pass_on(self, data: bytes) -> None:
        """Check a whole head and give it to the parser."""
        try:
            head = read_head(data)
        except KeepsakeError as error:
            self._refuse(error, data)
            return
        self._passed = data
        self.unanswered += 1
        self.last = self.last or head.upgrade
        body = Body(self, head.length, held_back=head.held_back)
        self.bodies.append(body)
        self._arriving = None if body.arrived else body
        super().data_received(head.data)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what never reached a handler; once a response has begun, only cutting the connection is honest."""
        del message  # it repeats what the client sent
        if not isinstance(exc, ConnectionError) and request.writer.output_size == 0:
            error = KeepsakeError() if status >= HTTPStatus.INTERNAL_SERVER_ERROR else malformed()
            self._answer_error(method_not_taken() if isinstance(exc, BadHttpMethod) else error, self._passed)
        raise ConnectionResetError from exc

    def _refuse(self, error: KeepsakeError, head: bytes = b"") -> None:
        """Answer before there is a request, and close; answers on their way come first, and then end the connection."""
        self._stop_head_timer()
        self._discarding = True
        if self.unanswered > 0:
            self.last = True
        else:
            self._answer_error(error, head or self._head)
            # To close over unread bytes would reset the answer away: read on for a moment (RFC 9112 section 9.6).
            self._head_timer = asyncio.get_running_loop().call_later(LINGER_S, self.force_close)
        self._head.clear()

    def _refuse_body(self) -> None:
        """End a request whose body breaks off in nonsense; whoever reads it sees a client that is gone."""
        self._discarding = True
        if self.unanswered == 1 and not self.answering:
            self._answer_error(malformed(), self._passed)
        self.force_close()

    def _answer_error(self, error: KeepsakeError, head: bytes | bytearray) -> None:
        """Write the answer and the end of the stream, with the headers that the middleware gives every other one."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        origin = ORIGIN.search(head)
        asked = origin[1].decode("latin-1") if origin else ""
        transport.write(problem_message(error, asked if asked in self.origins or "*" in self.origins else ""))
        transport.write_eof()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._head:
            self._refuse(RequestTimeout("The request's headers did not arrive in time."))
        else:
            self.force_close()


CONNECTION: Final = web.RequestKey("CONNECTION", Connection)


def request_with_body(
    make_request: Callable[..., web.BaseRequest], message: Any, _payload: Any, connection: Connection, *context: Any
) -> web.BaseRequest:
    """Return aiohttp's request, with its connection, its client's address, and its body: the parser's payload is empty."""
    content = RequestContent()
    request = content.request = make_request(message, content, connection, *context)
    request[CONNECTION], request[PEER] = connection, connection.peer
    request[BODY] = connection.body = connection.bodies.popleft()
    return request
