"""Sending an object: its headers, and its bytes by the cheapest way the store and the system have."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from io import FileIO
from pathlib import Path

from aiohttp import hdrs, web

from shared.errors import DependencyDown
from shared.http.conditional_requests import is_not_modified, require_match, wanted_range
from shared.http.sendfile import send_file
from shared.objects import ObjectNotFound, ObjectStore
from shared.uploads.sinks import storage_error

IN_ONE_WRITE_BYTES = 256 * 1024
EMBEDDABLE = {"Cross-Origin-Resource-Policy": "cross-origin"}
SAFE_HEADERS = {
    **EMBEDDABLE,
    "Accept-Ranges": "bytes",
    # Opened as a page of its own, nothing in the bytes may act for this site.
    "Content-Security-Policy": "sandbox; default-src 'none'",
}


@dataclass(frozen=True, slots=True)
class Representation:
    """What is sent: the object at `key`, of `size` bytes; `etag` is strong and unquoted, `vary` the headers it depends on."""

    key: str
    etag: str
    size: int
    content_type: str
    last_modified: datetime
    cache_control: str
    download: bool = False
    vary: tuple[str, ...] = field(default=())


async def send_object(request: web.Request, objects: ObjectStore, what: Representation) -> web.StreamResponse:
    """Answer GET or HEAD with the object, a part of it, or 304. Raises PreconditionFailed, or ObjectNotFound."""
    require_match(request, what.etag, what.last_modified)
    if is_not_modified(request, what.etag, what.last_modified):
        return web.Response(status=304, headers=_headers(what))
    part = wanted_range(request, what.size, what.etag, what.last_modified)
    start, end = part or (0, what.size - 1)
    response = web.StreamResponse(status=200 if part is None else 206, headers=_headers(what))
    response.headers[hdrs.CONTENT_TYPE] = what.content_type
    if part is not None:
        response.headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{end}/{what.size}"
    response.content_length = end + 1 - start
    if request.method == hdrs.METH_HEAD:
        return await _describe(request, objects, what.key, response)
    path = objects.local_path(what.key)
    if path is None:
        return await _stream(request, objects, what.key, response, start)
    return await _send_file(request, path, response, start)


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


async def _describe(
    request: web.Request, objects: ObjectStore, key: str, response: web.StreamResponse
) -> web.StreamResponse:
    if await objects.stat(key) is None:
        raise ObjectNotFound
    await response.prepare(request)
    await response.write_eof()
    return response


async def _stream(
    request: web.Request, objects: ObjectStore, key: str, response: web.StreamResponse, start: int
) -> web.StreamResponse:
    async with objects.open(key, start=start, length=response.content_length) as reader:
        await response.prepare(request)
        async for chunk in reader.chunks:
            await response.write(chunk)
    await response.write_eof()
    return response


async def _send_file(request: web.Request, path: Path, response: web.StreamResponse, start: int) -> web.StreamResponse:
    """Send a small part in one write with its head, for which sendfile costs more; a larger one by sendfile."""
    length = response.content_length or 0
    with ExitStack() as opened:
        file = _open(path, opened)
        if length > IN_ONE_WRITE_BYTES:
            await send_file(request, response, file.fileno(), start)
            return response
        data: bytes | bytearray | None = _read_cached(file, start, length)
        if data is None:
            data = await asyncio.to_thread(os.pread, file.fileno(), length, start)
        if len(data) != length:
            raise DependencyDown("storage")
        return web.Response(status=response.status, headers=response.headers, body=data)


def _open(path: Path, opened: ExitStack) -> FileIO:
    """Open a file until `opened` closes it: a look into the kernel's caches, where a trip to a thread costs ten times that."""
    try:
        file = opened.enter_context(FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)))
        is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ObjectNotFound from error
    except OSError as error:
        raise storage_error(error) from error
    if not is_file:
        raise ObjectNotFound
    return file


def _read_cached(file: FileIO, start: int, length: int) -> bytes | bytearray | None:
    """Read what the kernel holds in memory; None where it would have to wait for the disk, or cannot tell (preadv2(2))."""
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    buffer = bytearray(length)
    try:
        read = os.preadv(file.fileno(), [buffer], start, os.RWF_NOWAIT)
    except OSError:
        return None
    return buffer if read == length else None
