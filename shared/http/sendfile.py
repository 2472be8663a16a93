"""Sending a part of a file as the body of an answer: from file to socket within the kernel (sendfile(2)), on any event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

PIECE_BYTES = 2**20  # others have their turn in between


async def send_file(request: web.Request, response: web.StreamResponse, file: int, start: int) -> None:
    """Send the head of `response` and, as its body, as much of the open file from `start` on as its length says.

    `loop.sendfile` does the same in several tasks, and uvloop has none. Raises ConnectionResetError where the client went
    away, and where the file is too short: then the connection is cut, for nothing else tells the client.
    """
    writer = await response.prepare(request)
    transport = request.transport
    if writer is None or transport is None or transport.is_closing():
        raise ConnectionResetError
    with _corked(transport) as out:
        writer.send_headers()
        await asyncio.sleep(0)  # uvloop writes at the end of its turn
        while transport.get_write_buffer_size():
            await _writable(out)
        end = start + (response.content_length or 0)
        while start < end:
            if transport.is_closing():
                raise ConnectionResetError
            try:
                sent = os.sendfile(out, file, start, min(end - start, PIECE_BYTES))
            except BlockingIOError:
                await _writable(out)
                continue
            if not sent:
                transport.abort()
                raise ConnectionResetError
            start += sent
    await response.write_eof()


@contextmanager
def _corked(transport: asyncio.WriteTransport) -> Iterator[int]:
    """Give a descriptor of the connection's own, which nobody else closes; what is sent fills packets until the end.

    So the head goes out with the first bytes of the body (tcp(7), TCP_CORK), as with MSG_MORE.
    """
    its = transport.get_extra_info("socket")
    with socket.socket(its.family, its.type, its.proto, os.dup(its.fileno())) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        yield connection.fileno()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(descriptor, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(descriptor)
