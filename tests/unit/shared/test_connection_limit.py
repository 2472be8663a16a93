from __future__ import annotations

import asyncio
import ipaddress
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from shared.app.factory import base_app
from shared.app.routes import Route, ServiceInfo
from shared.http.clients import CONNECTION_LIMITER, ConnectionLimiter
from shared.settings import ServerSettings
from tests.support.raw_http import RawClient, connect
from tests.support.serving import ServeApp

MOST = 5
GET = b"GET /health HTTP/1.1\r\nHost: shop\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: shop\r\n\r\n"


@pytest.fixture
def released() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def app(released: asyncio.Event) -> web.Application:
    async def slow(_request: web.Request) -> web.Response:
        await released.wait()
        return web.Response(text="at last")

    route = Route(method="GET", path="/slow", handler=slow, summary="Waits")
    return base_app(ServiceInfo("crowded", "For tests"), ServerSettings(_env_file=None), (route,))


async def many(stack: AsyncExitStack, url: str, count: int) -> list[RawClient]:
    return [await stack.enter_async_context(connect(url)) for _ in range(count)]


async def answers(client: RawClient) -> bool:
    try:
        await client.send(GET)
        return (await client.answer()).status == 200
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


async def test_one_too_many_takes_the_place_of_the_longest_idle(app: web.Application, serve_app: ServeApp) -> None:
    app[CONNECTION_LIMITER] = ConnectionLimiter((), MOST)
    url = await serve_app(app)
    async with AsyncExitStack() as stack:
        clients = await many(stack, url, MOST)
        for client in clients:
            assert await answers(client)
        (newest,) = await many(stack, url, 1)
        assert await answers(newest)
        assert await clients[0].rest() == b""
        for client in clients[1:]:
            assert await answers(client)


async def test_who_is_being_answered_keeps_the_place(
    app: web.Application, serve_app: ServeApp, released: asyncio.Event
) -> None:
    app[CONNECTION_LIMITER] = ConnectionLimiter((), MOST)
    url = await serve_app(app)
    async with AsyncExitStack() as stack:
        clients = await many(stack, url, MOST)
        await clients[0].send(SLOW)
        assert await answers(clients[1])
        (newest,) = await many(stack, url, 1)
        assert await answers(newest)
        released.set()
        assert (await clients[0].answer()).body == b"at last"


async def test_where_all_are_at_work_no_more_come_in(
    app: web.Application, serve_app: ServeApp, released: asyncio.Event
) -> None:
    app[CONNECTION_LIMITER] = ConnectionLimiter((), MOST)
    url = await serve_app(app)
    async with AsyncExitStack() as stack:
        clients = await many(stack, url, MOST)
        for client in clients:
            await client.send(SLOW)
        await asyncio.sleep(0.1)
        (newest,) = await many(stack, url, 1)
        assert not await answers(newest)
        released.set()
        for client in clients:
            assert (await client.answer()).status == 200
        (later,) = await many(stack, url, 1)
        assert await answers(later)


async def test_those_who_left_are_not_counted(app: web.Application, serve_app: ServeApp) -> None:
    app[CONNECTION_LIMITER] = ConnectionLimiter((), MOST)
    url = await serve_app(app)
    async with connect(url) as first:
        for _ in range(MOST * 3):
            async with connect(url) as client:
                assert await answers(client)
                client.writer.close()
                await client.rest()
            await asyncio.sleep(0)
        assert await answers(first)


async def test_a_proxy_that_speaks_for_many_is_not_counted(app: web.Application, serve_app: ServeApp) -> None:
    app[CONNECTION_LIMITER] = ConnectionLimiter((ipaddress.ip_network("127.0.0.0/8"),), MOST)
    url = await serve_app(app)
    async with AsyncExitStack() as stack:
        for client in await many(stack, url, MOST * 3):
            assert await answers(client)
