"""Sending an object: its headers, and its bytes by the cheapest way the store and the system have."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import NamedTuple

from aiohttp import hdrs, web
from aiohttp.helpers import rfc822_formatted_time

from shared.app.middleware import COMMON_HEADERS, REQUEST_ID, is_plain
from shared.app.responses import SentAnswer
from shared.errors import DependencyDown
from shared.http.conditional_requests import is_not_modified, require_match, wanted_range
from shared.http.connection import CONNECTION
from shared.http.sendfile import send_file
from shared.objects import ObjectNotFound, ObjectStore

EMBEDDABLE = {"Cross-Origin-Resource-Policy": "cross-origin"}
SAFE_HEADERS = {
    **EMBEDDABLE,
    "Accept-Ranges": "bytes",
    # Opened as a page of its own, nothing in the bytes may act for this site.
    "Content-Security-Policy": "sandbox; default-src 'none'",
}


class Representation(NamedTuple):
    """What is sent: the object at `key`, of `size` bytes; `etag` is strong and unquoted, `vary` the headers it depends on."""

    key: str
    etag: str
    size: int
    content_type: str
    last_modified: datetime
    cache_control: str
    download: bool = False
    vary: tuple[str, ...] = ()


async def send_object(request: web.Request, objects: ObjectStore, what: Representation) -> web.StreamResponse:
    """Answer GET or HEAD with the object, a part of it, or 304. Raises PreconditionFailed, or ObjectNotFound."""
    require_match(request, what.etag, what.last_modified)
    if is_not_modified(request, what.etag, what.last_modified):
        return web.Response(status=304, headers=_headers(what))
    part = wanted_range(request, what.size, what.etag, what.last_modified)
    if request.method == hdrs.METH_HEAD or not what.size:  # of nothing, sendfile has nothing to send
        return await _describe(request, objects, what)
    opened = objects.open_local(what.key)
    if opened is None:
        return await _stream(request, objects, what, part)
    file, size = opened
    try:
        if size < what.size:
            raise DependencyDown("storage")
        return await _send_file(request, file, what, part)
    finally:
        os.close(file)


@lru_cache(maxsize=4096)
def _headers(what: Representation) -> Mapping[str, str]:
    """Return what an answer says of the object, sent or not; the same objects are asked for again and again."""
    name = re.sub(r"[^A-Za-z0-9._@+~-]", "_", what.key.rpartition("/")[2])  # needs no quoting in any browser (RFC 6266)
    return {
        **SAFE_HEADERS,
        hdrs.CACHE_CONTROL: what.cache_control,
        hdrs.CONTENT_DISPOSITION: f'{"attachment" if what.download else "inline"}; filename="{name}"',
        hdrs.ETAG: f'"{what.etag}"',
        hdrs.LAST_MODIFIED: format_datetime(what.last_modified.astimezone(UTC), usegmt=True),
        **({hdrs.VARY: ", ".join(what.vary)} if what.vary else {}),
    }


def _response(what: Representation, part: tuple[int, int] | None) -> web.StreamResponse:
    start, end = part or (0, what.size - 1)
    response = web.StreamResponse(status=200 if part is None else 206, headers=_headers(what))
    response.headers[hdrs.CONTENT_TYPE] = what.content_type
    if part is not None:
        response.headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{end}/{what.size}"
    response.content_length = end + 1 - start
    return response


async def _describe(request: web.Request, objects: ObjectStore, what: Representation) -> web.StreamResponse:
    if await objects.stat(what.key) is None:
        raise ObjectNotFound
    response = _response(what, None)
    await response.prepare(request)
    await response.write_eof()
    return response


async def _stream(
    request: web.Request, objects: ObjectStore, what: Representation, part: tuple[int, int] | None
) -> web.StreamResponse:
    response = _response(what, part)
    start, length = part[0] if part else 0, response.content_length
    async with objects.open(what.key, start=start, length=length) as reader:
        await response.prepare(request)
        async for chunk in reader.chunks:
            await response.write(chunk)
    await response.write_eof()
    return response


async def _send_file(
    request: web.Request, file: int, what: Representation, part: tuple[int, int] | None
) -> web.StreamResponse:
    """Send from an open file; what most ask for, the whole file for a page of this site, with a head that is ready."""
    if part is None and is_plain(request):
        head = (
            _ready_head(what)
            + f"Date: {rfc822_formatted_time()}\r\nX-Request-Id: {request[REQUEST_ID]}\r\n\r\n".encode()
        )
        request[CONNECTION].answering = True
        await send_file(request, head, file, 0, what.size)
        return SentAnswer()
    response = _response(what, part)
    await response.prepare(request)
    await send_file(request, b"", file, part[0] if part else 0, response.content_length or 0)
    await response.write_eof()
    return response


@lru_cache(maxsize=4096)
def _ready_head(what: Representation) -> bytes:
    """Return the head of the whole object for a page of this site, without what each answer has of its own."""
    headers = {
        **_headers(what),
        **COMMON_HEADERS,
        hdrs.VARY: ", ".join((*what.vary, hdrs.ORIGIN)),
        hdrs.CONTENT_TYPE: what.content_type,
        hdrs.CONTENT_LENGTH: str(what.size),
    }
    return "\r\n".join(["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in headers.items()), ""]).encode()
