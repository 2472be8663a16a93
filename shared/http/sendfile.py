"""Sending a part of a file as the body of an answer: from file to socket within the kernel (sendfile(2)), on any event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from aiohttp import web

STALLED_S = 60
PIECE_BYTES = 2**20  # then others have their turn


async def send_file(request: web.BaseRequest, head: bytes, file: int, start: int, length: int) -> None:
    """Send `head` (empty where it was sent already), and then `length` bytes, at least 1, of the open file from `start` on.

    The head goes out with the first bytes of the body (send(2), MSG_MORE). `loop.sendfile` does the same in several tasks,
    and uvloop has none. Raises ConnectionResetError where the client went away, and where the file is too short: then the
    connection is cut, for nothing else tells the client.
    """
    transport, writer = request.transport, request.writer
    while transport is not None and transport.get_write_buffer_size():
        await _writable(transport)
    while length:
        piece = min(length, PIECE_BYTES)
        if not _is_in_memory(file, start + piece - 1):
            await asyncio.to_thread(os.pread, file, piece, start)  # so that the kernel holds it; the copy is dropped
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        out = transport.get_extra_info("socket")
        try:
            while head:
                sent = _send_more(out, head)
                writer.output_size += sent
                head = head[sent:]
            sent = os.sendfile(out.fileno(), file, start, piece)
        except BlockingIOError:
            await _writable(transport)
            continue
        if not sent:  # the file ends here
            transport.abort()
            raise ConnectionResetError
        writer.output_size += sent
        start, length = start + sent, length - sent
        if sent == piece and length:
            await asyncio.sleep(0)


def _send_more(out: Any, data: bytes) -> int:
    """Send what more will follow: `out`, as the event loop lends it, has no `send` (asyncio.TransportSocket)."""
    connection = socket.socket(out.family, out.type, out.proto, out.fileno())
    try:
        return connection.send(data, socket.MSG_MORE)
    finally:
        connection.detach()


def _is_in_memory(file: int, at: int) -> bool:
    """Tell whether the kernel holds the byte; False where it would have to wait for the disk, or cannot tell (preadv2(2))."""
    try:
        return hasattr(os, "RWF_NOWAIT") and os.preadv(file, [bytearray(1)], at, os.RWF_NOWAIT) == 1
    except OSError:
        return False


async def _writable(transport: asyncio.WriteTransport) -> None:
    """Wait for room, on a descriptor of the connection's own: the event loop has the other one.

    Raises ConnectionResetError where a reader makes none for a minute.
    """
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    descriptor = os.dup(transport.get_extra_info("socket").fileno())
    loop.add_writer(descriptor, writable.set)
    try:
        async with asyncio.timeout(STALLED_S):
            await writable.wait()
    except TimeoutError:
        transport.abort()
        raise ConnectionResetError from None
    finally:
        loop.remove_writer(descriptor)
        os.close(descriptor)
