from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from shared.app.factory import base_app
from shared.app.middleware import LIFECYCLE
from shared.app.routes import Route, ServiceInfo
from shared.auth.service_client import ServiceClient, open_http_client
from shared.errors import DependencyDown
from shared.http.body import read_bytes
from shared.settings import ServerSettings
from tests.support.serving import ServeApp

SECRET = "between-the-services-only-0123456789"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_http_client() as session:
        yield session


def named(name: str) -> web.Application:
    """A service that takes what it is sent and tells its name."""

    async def tell(request: web.Request) -> web.Response:
        return web.json_response({"name": name, "sent": json.loads(await read_bytes(request, max_bytes=2**20))})

    route = Route(method="POST", path="/internal/orders", handler=tell, summary="Tell")
    return base_app(ServiceInfo("planter-orders", "Tells its name"), ServerSettings(_env_file=None), (route,))


def client_of(session: aiohttp.ClientSession, *urls: str) -> ServiceClient:
    return ServiceClient(session, urls, name="planter-orders", caller="checkout", secret=SECRET)


async def asked(client: ServiceClient, times: int) -> list[str]:
    return [(await client.call("POST", "/internal/orders", json={"a": 1})).body["name"] for _ in range(times)]


async def test_addresses_take_turns(session: aiohttp.ClientSession, serve_app: ServeApp) -> None:
    client = client_of(session, await serve_app(named("one")), await serve_app(named("two")))
    assert await asked(client, 4) == ["one", "two", "one", "two"]


async def test_one_that_is_stopping_is_passed_over(session: aiohttp.ClientSession, serve_app: ServeApp) -> None:
    stopping = named("one")
    client = client_of(session, await serve_app(stopping), await serve_app(named("two")))
    stopping[LIFECYCLE].stop()
    assert await asked(client, 4) == ["two"] * 4


async def test_the_only_one_that_is_stopping_is_down(session: aiohttp.ClientSession, serve_app: ServeApp) -> None:
    stopping = named("one")
    client = client_of(session, await serve_app(stopping))
    stopping[LIFECYCLE].stop()
    with pytest.raises(DependencyDown):
        await asked(client, 1)


async def test_one_that_takes_no_connection_is_passed_over(session: aiohttp.ClientSession, serve_app: ServeApp) -> None:
    # A full backlog: the system answers no further connection, as that of a machine that is gone.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as hole, socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.setblocking(False)
            each.connect_ex(hole.getsockname())
        client = client_of(session, f"http://127.0.0.1:{hole.getsockname()[1]}", await serve_app(named("two")))
        assert await asked(client, 2) == ["two"] * 2
