"""A request's body, read with bounds: its next bytes, all of it, or what is left of it thrown away."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from shared.connection import RequestTimeout
from shared.errors import KeepsakeError, TooLarge

IDLE_S = 30.0
MIB = 2**20
_CONTINUED = web.RequestKey("continued", bool)


class ClientGone(ConnectionResetError):
    """The client hung up before its body was complete: there is nobody to answer, and no fault of ours to log."""


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
        and request.content.total_bytes == 0
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
    """Return the body's next bytes, as many as there are, or `b""` at its end.

    Raises RequestTimeout when none came for `idle_s` seconds, and ClientGone for whatever a lost connection raises.
    """
    content = request.content
    try:
        chunk = content.read_nowait()  # a timer costs more than the read: none where bytes are there already
        if chunk or content.at_eof():
            return chunk
        async with asyncio.timeout(idle_s):
            return await content.readany()
    except OSError as error:
        if isinstance(error, TimeoutError) and request.transport is not None:
            raise RequestTimeout("The upload stood still for too long. Please try again.", "body_timeout") from None
        raise ClientGone from error
    except RuntimeError as error:  # what aiohttp raises where the connection was lost before the handler ran
        if request.transport is not None:
            raise
        raise ClientGone from error


async def read_bytes(request: web.BaseRequest, *, max_bytes: int) -> bytes:
    """Return the whole body; raises TooLarge as soon as it is known to be over `max_bytes`."""
    too_large = TooLarge(f"The request body is too large: at most {size_text(max_bytes)}.")
    if (request.content_length or 0) > max_bytes:
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
