from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from gateway import forward
from shared.app.factory import base_app
from shared.app.routes import Route, ServiceInfo
from shared.errors import TooLarge
from shared.http.body import BODY, continue_body
from shared.settings import ServerSettings
from tests.support.raw_http import connect
from tests.support.serving import ServeApp
from tests.unit.gateway.conftest import OpenGateway, bearer, dead_url
from tests.unit.gateway.wire_server import ok, wire_server

POST = b"POST /store-image HTTP/1.1\r\nHost: a\r\n"


class Sink:
    """A service that notes how each upload ended."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.began = asyncio.Event()
        self.refuse_after: int | None = None
        self.received = 0

    async def take(self, request: web.Request) -> web.Response:
        await continue_body(request)
        self.began.set()
        try:
            while chunk := await request[BODY].read():
                self.received += len(chunk)
                if self.refuse_after is not None and self.received >= self.refuse_after:
                    raise TooLarge("At most that much.")
        except ConnectionError:
            self.ended.put_nowait("broken")
            raise
        self.ended.put_nowait("complete")
        return web.json_response({"received": self.received})

    def app(self) -> web.Application:
        routes = (Route(method="POST", path="/store-image", handler=self.take, summary="Take"),)
        return base_app(ServiceInfo("sink", "Takes"), ServerSettings(), routes)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def url(sink: Sink, serve_app: ServeApp, open_gateway: OpenGateway) -> str:
    return await open_gateway(media_store_url=await serve_app(sink.app()))


@pytest.mark.parametrize(
    "start",
    [
        b"Content-Length: 1000000\r\n\r\n" + b"x" * 500_000,
        b"Transfer-Encoding: chunked\r\n\r\n400\r\n" + b"x" * 1024 + b"\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n400\r\n" + b"x" * 100,
    ],
)
@pytest.mark.parametrize("politely", [True, False])
async def test_an_upload_the_client_breaks_off_never_looks_complete(
    url: str, sink: Sink, start: bytes, *, politely: bool
) -> None:
    async with connect(url) as client:
        await client.send(POST + start)
        async with asyncio.timeout(20):
            await sink.began.wait()
        if politely:
            client.writer.write_eof()
            await client.rest()
    assert await sink.ended.get() == "broken"


async def test_a_chunk_that_breaks_midway_never_looks_complete(url: str, sink: Sink) -> None:
    async with connect(url) as client:
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n400\r\n" + b"x" * 1024 + b"\r\n")
        async with asyncio.timeout(20):
            await sink.began.wait()
        await client.send(b"nonsense\r\n0\r\n\r\n")
        assert (await client.answer()).status == 400
    assert await sink.ended.get() == "broken"


async def test_a_refusal_in_the_middle_reaches_the_client_at_once(url: str, sink: Sink) -> None:
    sink.refuse_after = 1
    async with connect(url) as client:
        await client.send(POST + b"Content-Length: 8000000\r\n\r\n" + b"x" * 100_000)
        answer = await client.answer()
        assert answer.status == 413
        assert b"At most that much." in answer.body


async def test_a_client_that_sends_all_before_it_reads_sees_the_refusal(url: str, sink: Sink) -> None:
    sink.refuse_after = 1
    async with connect(url) as client:
        await client.send(POST + b"Content-Length: 8000000\r\n\r\n")
        for _ in range(80):
            await client.send(b"x" * 100_000)
        assert (await client.answer()).status == 413


async def test_the_gateway_serves_on_after_broken_uploads(http: aiohttp.ClientSession, url: str, sink: Sink) -> None:
    for _ in range(5):
        async with connect(url) as client:
            await client.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 200_000)
        await sink.ended.get()
    sink.received = 0
    async with http.post(f"{url}/store-image", data=b"x" * 300_000) as answer:
        assert await answer.json() == {"received": 300_000}


async def test_a_body_that_stands_still_is_given_up(url: str, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "BODY_IDLE_S", 0.1)
    async with connect(url) as client:
        await client.send(POST + b"Content-Length: 1000\r\n\r\nabc")
        answer = await client.answer()
        assert answer.status == 408
        assert b'"body_timeout"' in answer.body
    assert await sink.ended.get() == "broken"


async def test_a_slow_service_slows_the_client_down(open_gateway: OpenGateway) -> None:
    release = asyncio.Event()

    async def wait_then_read(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await reader.readexactly(40_000_000)
        writer.write(ok())

    async with wire_server(wait_then_read) as wire:
        url = await open_gateway(planter_orders_url=wire.url)
        async with connect(url) as client:
            client.writer.transport.set_write_buffer_limits(high=0)
            sent = 0
            head = f"POST /api/images/upload HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer()['Authorization']}\r\n"
            client.writer.write(f"{head}Content-Length: 40000000\r\n\r\n".encode())

            async def send_what_goes() -> None:
                nonlocal sent
                while sent < 40_000_000:
                    client.writer.write(b"x" * 100_000)
                    sent += 100_000
                    await asyncio.wait_for(client.writer.drain(), 1)

            with pytest.raises(TimeoutError):
                await send_what_goes()
            assert sent < 40_000_000
            release.set()
            await client.send(b"x" * (40_000_000 - sent))
            assert (await client.answer()).status == 200


async def test_nothing_is_read_of_a_body_whose_service_is_down(open_gateway: OpenGateway) -> None:
    url = await open_gateway(media_store_url=dead_url())
    async with connect(url) as client:
        await client.send(POST + b"Content-Length: 5000000\r\n\r\n" + b"x" * 1000)
        assert (await client.answer()).status == 503


async def test_one_body_is_never_two_requests(open_gateway: OpenGateway) -> None:
    """What a client hides in a body stays in that body, however it is framed."""
    hidden = b"GET /internal/secret HTTP/1.1\r\nHost: a\r\n\r\n"

    async def read_all(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"content-length: " in head.lower():
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        elif b"transfer-encoding" in head.lower():
            await reader.readuntil(b"0\r\n\r\n")
        writer.write(ok())

    async with wire_server(read_all) as wire:
        url = await open_gateway(media_store_url=wire.url)
        for framing in (
            b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden,
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(hidden) + hidden + b"\r\n0\r\n\r\n",
            b"Content-Length: %d\r\nConnection: Content-Length\r\n\r\n" % len(hidden) + hidden,
            b"Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n%x\r\n" % len(hidden)
            + hidden
            + b"\r\n0\r\n\r\n",
        ):
            async with connect(url) as client:
                await client.send(POST + framing)
                assert (await client.answer()).status == 200
        assert len(wire.heads) == 4
        assert all(head.startswith(b"POST /store-image HTTP/1.1\r\n") for head in wire.heads)
