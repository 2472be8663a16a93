from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from shared.app.factory import base_app
from shared.app.routes import Route, ServiceInfo
from shared.http.tcp_delivery import limit_send_buffer, unacknowledged_bytes, wait_delivered
from shared.settings import ServerSettings
from tests.support.serving import ServeApp

CONTENT = os.urandom(2_000_000)
REQUEST = b"GET /picture HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Deliveries:
    """An app that sends a picture and notes whether each was delivered."""

    def __init__(self) -> None:
        self.noted: asyncio.Queue[bool] = asyncio.Queue()

    async def picture(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        limit_send_buffer(request.transport)
        response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT))})
        try:
            await response.prepare(request)
            for start in range(0, len(CONTENT), 16384):
                await response.write(CONTENT[start : start + 16384])
            await response.write_eof()
        except ConnectionError:
            self.noted.put_nowait(False)
            raise
        self.noted.put_nowait(await wait_delivered(request.transport, 0.5))
        return response


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries()


@pytest.fixture
async def port(deliveries: Deliveries, serve_app: ServeApp) -> int:
    routes = (Route(method="GET", path="/picture", handler=deliveries.picture, summary="A picture"),)
    url = await serve_app(base_app(ServiceInfo("pictures", "Pictures"), ServerSettings(), routes))
    return int(url.rsplit(":", 1)[1])


@pytest.fixture
async def client(port: int) -> AsyncIterator[socket.socket]:
    """A client that takes as little as the system lets it before it reads."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, REQUEST)
        yield sock


async def receive(client: socket.socket, least: int) -> int:
    got = 0
    while got < least:
        chunk = await asyncio.get_running_loop().sock_recv(client, 65536)
        assert chunk
        got += len(chunk)
    return got


async def test_a_picture_read_to_its_end_is_delivered(deliveries: Deliveries, client: socket.socket) -> None:
    await receive(client, len(CONTENT))
    assert await deliveries.noted.get()


async def test_a_client_that_closes_right_after_its_last_byte_has_it(
    deliveries: Deliveries, client: socket.socket
) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += await asyncio.get_running_loop().sock_recv(client, 1)
    await receive(client, len(CONTENT))
    client.close()
    assert await deliveries.noted.get()


async def test_a_reset_in_the_middle_is_no_delivery(deliveries: Deliveries, client: socket.socket) -> None:
    await receive(client, 1000)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert not await deliveries.noted.get()


async def test_a_reset_shortly_before_the_end_is_no_delivery(deliveries: Deliveries, client: socket.socket) -> None:
    await receive(client, len(CONTENT) - 100_000)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert not await deliveries.noted.get()


async def test_a_client_that_stops_reading_near_the_end_has_not_got_it(
    deliveries: Deliveries, client: socket.socket
) -> None:
    await receive(client, len(CONTENT) - 100_000)
    assert not await deliveries.noted.get()


async def test_a_connection_that_is_gone_delivers_nothing() -> None:
    assert not await wait_delivered(None)


async def test_bytes_on_their_way_are_counted(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert unacknowledged_bytes(writer.transport) == 0
    writer.close()
    await writer.wait_closed()
    assert reader is not None
