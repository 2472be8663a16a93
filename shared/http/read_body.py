"""A request's body, read with bounds: its next bytes, all of it, or what is left of it thrown away."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from shared.errors import KeepsakeError, TooLarge, UnsupportedMedia
from shared.http.body import Body, ClientGone
from shared.http.connection import RequestTimeout

IDLE_S = 30.0
MIB = 2**20
BODY = web.RequestKey("BODY", Body)
_CONTINUED = web.RequestKey("continued", bool)


def require_unencoded(request: web.BaseRequest) -> None:
    """Raise UnsupportedMedia for a body under a `Content-Encoding` (RFC 9110 section 8.4)."""
    if request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower() not in {"", "identity"}:
        raise UnsupportedMedia("Send the body without Content-Encoding.", "content_encoding_not_supported")


def size_text(size_bytes: int) -> str:
    """Write a limit as a person reads it: `5 MiB`, `64 KiB`, `1500 bytes`."""
    for unit, name in ((MIB, "MiB"), (1024, "KiB")):
        if size_bytes >= unit and size_bytes % unit == 0:
            return f"{size_bytes // unit} {name}"
    return f"{size_bytes} bytes"


def _expects_continue(request: web.BaseRequest) -> bool:
    """Tell whether the client holds its body back until it is told to go on (RFC 9110 section 10.1.1)."""
    return (
        request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
        and request.version >= HttpVersion11
        and not request[BODY].received
        and _CONTINUED not in request
    )


async def continue_body(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send its body; at most once, and only where it waits. Raises ClientGone."""
    if not _expects_continue(request):
        return
    request[_CONTINUED] = True
    try:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    except ConnectionError as error:
        raise ClientGone from error
    request.writer.output_size = 0  # the answer itself has not begun


async def read_chunk(request: web.BaseRequest, *, idle_s: float = IDLE_S) -> bytes:
    """Return the body's next bytes as they came, or `b""` at its end.

    Raises RequestTimeout when none came for `idle_s` seconds, and ClientGone where the connection is lost.
    """
    try:
        return await request[BODY].read(idle_s)
    except TimeoutError:
        raise RequestTimeout("The upload stood still for too long. Please try again.", "body_timeout") from None


async def read_bytes(request: web.BaseRequest, *, max_bytes: int) -> bytes:
    """Return the whole body; raises TooLarge as soon as it is known to be over `max_bytes`."""
    too_large = TooLarge(f"The request body is too large: at most {size_text(max_bytes)}.")
    if (request[BODY].length or 0) > max_bytes:
        raise too_large
    await continue_body(request)
    chunks: list[bytes] = []
    size = 0
    while chunk := await read_chunk(request):
        size += len(chunk)
        if size > max_bytes:
            raise too_large
        chunks.append(chunk)
    return b"".join(chunks)


async def discard_body(request: web.BaseRequest, *, max_s: float = 2.0, max_bytes: int = 16 * MIB) -> None:
    """Read on after an early refusal and keep nothing: to close over unread bytes would reset the answer away."""
    if _expects_continue(request):
        return
    with suppress(ConnectionError, TimeoutError, KeepsakeError):
        async with asyncio.timeout(max_s):
            while max_bytes > 0 and (chunk := await read_chunk(request)):
                max_bytes -= len(chunk)


class RequestContent:
    """What aiohttp reads a request's body from, so that `read()`, `text()`, `json()` and `post()` see what we see.

    Limits of aiohttp's own apply to them (`client_max_size`). All else that a stream of aiohttp's has is missing here, so
    that whoever calls it fails at once: read with the functions above.
    """

    request: web.BaseRequest

    async def readany(self) -> bytes:
        """Return the next bytes, `b""` at the end; raises as `read_chunk` does."""
        await continue_body(self.request)
        return await read_chunk(self.request)

    def at_eof(self) -> bool:
        """Tell whether all was read."""
        return self.request[BODY].complete

    def set_read_chunk_size(self, _size: int) -> None:
        """Ignore a size that suits aiohttp's own stream."""

    def set_exception(self, _error: BaseException, _cause: BaseException | None = None) -> None:
        """Ignore a lost connection: its body knows."""
