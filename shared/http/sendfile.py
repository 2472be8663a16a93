"""Sending a part of a file as the body of an answer: from file to socket within the kernel (sendfile(2)), on any event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from aiohttp import web

PIECE_BYTES = 2**20  # others have their turn in between


async def send_file(request: web.BaseRequest, head: bytes, file: int, start: int, length: int) -> None:
    """Send `head`, which may be on its way already, and then `length` bytes, at least 1, of the open file from `start` on.

    The head goes out with the first bytes of the body (send(2), MSG_MORE). `loop.sendfile` does the same in several tasks,
    and uvloop has none. Raises ConnectionResetError where the client went away, and where the file is too short: then the
    connection is cut, for nothing else tells the client.
    """
    transport = request.transport
    while transport is not None and transport.get_write_buffer_size():
        await _writable(transport)
    while head:
        head = head[await _sent(request, _send_more, head) :]
    while length:
        piece = min(length, PIECE_BYTES)
        if not _is_in_memory(file, start + piece - 1):
            await asyncio.to_thread(os.pread, file, piece, start)
        sent = await _sent(request, _send_from, file, start, piece)
        start, length = start + sent, length - sent


async def _sent(request: web.BaseRequest, send: Callable[..., int], *args: Any) -> int:
    """Send once there is room; return and count how much that was. Raises ConnectionResetError."""
    while True:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        try:
            sent = send(_socket_of(transport), *args)
        except BlockingIOError:
            await _writable(transport)
            continue
        if not sent:  # the file ends here
            transport.abort()
            raise ConnectionResetError
        request.writer.output_size += sent
        return sent


def _send_more(shown: Any, data: bytes) -> int:
    """Send what more will follow; a socket that an event loop shows cannot."""
    connection = socket.socket(shown.family, shown.type, shown.proto, shown.fileno())
    try:
        return connection.send(data, socket.MSG_MORE)
    finally:
        connection.detach()


def _send_from(shown: Any, file: int, start: int, count: int) -> int:
    return os.sendfile(shown.fileno(), file, start, count)


def _socket_of(transport: asyncio.WriteTransport) -> Any:
    return transport.get_extra_info("socket")


def _is_in_memory(file: int, at: int) -> bool:
    """Tell whether the kernel holds the byte; False where it would have to wait for the disk, or cannot tell (preadv2(2))."""
    try:
        return os.preadv(file, [bytearray(1)], at, os.RWF_NOWAIT) == 1
    except OSError:
        return False


async def _writable(transport: asyncio.WriteTransport) -> None:
    """Wait for room, on a descriptor of the connection's own: the event loop has the other one."""
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    descriptor = os.dup(_socket_of(transport).fileno())
    loop.add_writer(descriptor, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(descriptor)
        os.close(descriptor)
