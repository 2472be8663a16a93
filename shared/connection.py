"""One client connection: aiohttp's own, with the checks on a request's head that aiohttp leaves out.

A head must be complete within 15 s and 32 KiB (slow senders hold a connection, not a parser), name HTTP/1.0 or 1.1 (aiohttp
would answer in whatever version was asked for), and never upgrades (RFC 9110 section 7.8 lets a server ignore it).
What the parser refuses is answered as problem+json instead of a text that repeats the hostile bytes.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from http import HTTPStatus
from typing import Any

from aiohttp import web

from shared.errors import BadRequest, KeepsakeError
from shared.problem import CONTENT_TYPE, problem_body, problem_response

HEAD_TIMEOUT_S = 15.0
MAX_HEAD_BYTES = 32 * 1024
HEAD_END = b"\r\n\r\n"
REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^\s\x00-\x20]+ HTTP/1\.[01]\r\n")
VERSIONED_LINE = re.compile(rb"[^\r\n]* HTTP/[0-9.]+\r\n")
UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[^\r\n]*", re.IGNORECASE)
TRANSFER_ENCODING = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)


class RequestTimeout(KeepsakeError):
    """The client took longer than allowed to send its request."""

    status = 408
    default_code = "request_timeout"


class HeadTooLarge(KeepsakeError):
    """The request's head is over its limit (RFC 6585)."""

    status = 431
    default_code = "headers_too_large"


class VersionNotSupported(KeepsakeError):
    """An HTTP version other than 1.0 and 1.1."""

    status = 505
    default_code = "http_version_not_supported"


def _malformed() -> BadRequest:
    return BadRequest("The request is not readable as HTTP.", "malformed_request")


class Connection(web.RequestHandler):
    """aiohttp's connection with a gate before its parser: a head is passed on whole and checked, or not at all.

    The gate counts the body by `Content-Length`, so it knows where the next head begins. A chunked body's end it does not
    know; such a connection is closed after its answer, which also keeps trailers from becoming the next request's headers.
    """

    __slots__ = ("_body_left", "_half_open", "_head", "_head_timer", "_in_progress", "_last", "_raw")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head = bytearray()
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_left = 0
        self._raw = False  # from here on all bytes go to the parser: a chunked body
        self._last = False  # the connection closes after the answer
        self._in_progress = False
        self._half_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the timer with the connection."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bodies on as they come, and heads when they are complete and fit."""
        if self._raw or not data:
            super().data_received(data)
        elif len(data) <= self._body_left:
            self._body_left -= len(data)
            super().data_received(data)
        else:
            if self._body_left:
                super().data_received(data[: self._body_left])
                data = data[self._body_left :]
                self._body_left = 0
            self._gather(data)

    def stay_half_open(self) -> None:
        """Keep the connection when the client has sent all it will: whether it got its answer is still to be seen."""
        self._half_open = True

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own signature: True keeps the sending half
        """Close with the client, unless its answer must first be followed to its end."""
        self._last = self._last or self._half_open
        return self._half_open

    def request_begins(self) -> None:
        """Note that an answer is being made: nothing else may be written; `shared.app` calls this."""
        self._in_progress = True

    def request_ends(self, response: web.StreamResponse | None) -> None:
        """Note that the answer is made, and close after it where the gate has lost count; `shared.app` calls this."""
        self._in_progress = False
        if self._last and response is not None and not response.prepared:
            response.force_close()
        elif self._last:
            self.close()

    def _gather(self, data: bytes) -> None:
        head = self._head
        searched_from = max(0, len(head) - len(HEAD_END) + 1)
        head += data
        while head:
            end = head.find(HEAD_END, searched_from)
            if (end if end >= 0 else len(head)) > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge(f"The request's headers are over {MAX_HEAD_BYTES // 1024} KiB."))
                return
            if end < 0:
                if self._head_timer is None:
                    self._start_head_timer()
                return
            searched_from = 0
            if not self._pass_on(end + len(HEAD_END)):
                return

    def _pass_on(self, end: int) -> bool:
        """Check the head in the first `end` bytes and give it to the parser with what is there of its body."""
        self._stop_head_timer()
        head = bytes(self._head[:end]).lstrip(b"\r\n")
        if REQUEST_LINE.match(head) is None:
            wrong_version = VERSIONED_LINE.match(head) is not None
            self._refuse(VersionNotSupported("Use HTTP/1.1.") if wrong_version else _malformed())
            return False
        if UPGRADE.search(head):
            head = UPGRADE.sub(b"", head)
            self._last = True
        length = CONTENT_LENGTH.search(head)
        if TRANSFER_ENCODING.search(head):
            self._raw = self._last = True
            body = bytes(self._head[end:])
            self._head.clear()
        else:
            size = int(length[1]) if length else 0
            body = bytes(self._head[end : end + size])
            del self._head[: end + size]
            self._body_left = size - len(body)
        super().data_received(head + body if body else head)
        return not self._raw

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what never reached a handler; once a response has begun, only cutting the connection is honest."""
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionResetError from exc
        del message  # it repeats what the client sent
        request_id = secrets.token_hex(16)
        response = problem_response(
            _malformed() if status < HTTPStatus.INTERNAL_SERVER_ERROR else KeepsakeError(), request_id
        )
        response.headers["Vary"] = "Origin"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Request-Id"] = request_id
        response.force_close()
        return response

    def _refuse(self, error: KeepsakeError) -> None:
        """Answer before there is a request, and close."""
        self._stop_head_timer()
        self._head.clear()
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if self._in_progress:  # its answer is on the way: let it finish, then close
            self._raw = self._last = True
            self.close()
            return
        request_id = secrets.token_hex(16)
        body = problem_body(error, request_id)
        transport.write(
            (
                f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\nContent-Type: {CONTENT_TYPE}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\nCache-Control: no-store\r\nVary: Origin\r\n"
                f"X-Content-Type-Options: nosniff\r\nX-Request-Id: {request_id}\r\n\r\n"
            ).encode()
            + body
        )
        self.force_close()

    def _start_head_timer(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self._head_is_late)

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
