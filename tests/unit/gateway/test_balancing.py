from __future__ import annotations

import asyncio
import socket
from collections import Counter

import aiohttp
import pytest
from aiohttp import web

from gateway.upstream.exchange import FIRST_REST_S, Outgoing, Pool, exchange
from gateway.upstream.response_head import ServiceDown
from shared.app.factory import base_app
from shared.app.middleware import LIFECYCLE
from shared.app.routes import Route, ServiceInfo
from shared.settings import ServerSettings
from tests.support.serving import ServeApp, serving
from tests.unit.gateway.conftest import OpenGateway, dead_url
from tests.unit.gateway.wire_server import ok, saying, wire_server


def named(name: str) -> web.Application:
    async def tell(_request: web.Request) -> web.Response:
        return web.Response(text=name)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", tell)
    return app


async def asked(http: aiohttp.ClientSession, url: str, count: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(count):
        async with http.get(f"{url}/media/a") as answer:
            found[await answer.text() if answer.status == 200 else str(answer.status)] += 1
    return found


async def test_addresses_take_turns(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp
) -> None:
    both = (await serve_app(named("one")), await serve_app(named("two")))
    url = await open_gateway(media_store_url=both)
    assert await asked(http, url, 10) == {"one": 5, "two": 5}


async def test_the_busy_one_gets_less(open_gateway: OpenGateway, serve_app: ServeApp) -> None:
    release = asyncio.Event()

    async def hold(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(ok(b"slow"))

    async with wire_server(hold) as slow, aiohttp.ClientSession() as http:
        url = await open_gateway(media_store_url=(slow.url, await serve_app(named("quick"))))
        waiting = [asyncio.create_task(asked(http, url, 1)) for _ in range(2)]
        await slow.asked.wait()
        assert (await asked(http, url, 6))["quick"] >= 5
        release.set()
        await asyncio.gather(*waiting)


async def test_one_that_is_down_costs_no_request(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp
) -> None:
    url = await open_gateway(media_store_url=(dead_url(), await serve_app(named("two")), dead_url()))
    assert await asked(http, url, 10) == {"two": 10}
    async with http.post(f"{url}/store-image", data=b"x" * 100_000) as answer:
        assert answer.status == 200


async def test_a_service_that_comes_back_is_found_again(http: aiohttp.ClientSession, open_gateway: OpenGateway) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    sock.close()
    url = await open_gateway(media_store_url=f"http://127.0.0.1:{port}")
    assert await asked(http, url, 8) == {"503": 8}
    for _ in range(2):
        back = socket.create_server(("127.0.0.1", port))
        back.setblocking(False)
        async with serving(named("back"), back):
            assert await asked(http, url, 3) == {"back": 3}
        assert await asked(http, url, 2) == {"503": 2}


async def test_localhost_is_reached_whichever_address_it_listens_at(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp
) -> None:
    port = (await serve_app(named("four"))).rsplit(":", 1)[1]
    url = await open_gateway(media_store_url=f"http://localhost:{port}")
    assert await asked(http, url, 2) == {"four": 2}


async def test_a_black_hole_is_given_up() -> None:
    # A full backlog: the system answers no further connection.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as hole, socket.socket() as one, socket.socket() as two:
        for client in (one, two):
            client.setblocking(False)
            client.connect_ex(hole.getsockname())
        pool = Pool("media-store", (f"http://127.0.0.1:{hole.getsockname()[1]}",))
        async with asyncio.timeout(20):
            with pytest.raises(ServiceDown):
                async with exchange(pool, Outgoing(method="GET", target=b"/", fields=b"")):
                    pass
        pool.close()


async def test_connections_are_kept_and_shared() -> None:
    async with wire_server(saying(ok())) as wire:
        pool = Pool("media-store", (wire.url,))

        async def once() -> bytes:
            async with exchange(pool, Outgoing(method="GET", target=b"/", fields=b"")) as answer:
                return await answer.read()

        assert await asyncio.gather(*(once() for _ in range(5))) == [b"fine"] * 5
        for _ in range(20):
            assert await once() == b"fine"
        assert wire.connections == 5
        pool.close()


async def test_an_exchange_that_is_left_early_takes_its_connection_along() -> None:
    async with wire_server(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin")) as wire:
        pool = Pool("media-store", (wire.url,))
        for _ in range(2):
            async with exchange(pool, Outgoing(method="GET", target=b"/", fields=b"")) as answer:
                assert await answer.read() == b"begin"
        assert wire.connections == 2
        pool.close()


async def test_a_cancelled_request_leaves_no_connection_behind() -> None:
    async def never(_head: bytes, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()
        raise ConnectionResetError

    async with wire_server(never) as wire:
        pool = Pool("media-store", (wire.url,))

        async def once() -> None:
            async with exchange(pool, Outgoing(method="GET", target=b"/", fields=b"")):
                pass

        task = asyncio.create_task(once())
        await wire.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.open_connections == 0
        pool.close()


async def test_a_service_that_is_stopping_is_passed_over(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp
) -> None:
    async def serve(_request: web.Request) -> web.Response:
        return web.Response(text="one")

    routes = (Route(method="GET", path="/media/a", handler=serve, summary="Serve"),)
    stopping = base_app(ServiceInfo("media-store", "Serves"), ServerSettings(), routes)
    url = await open_gateway(media_store_url=(await serve_app(stopping), await serve_app(named("two"))))
    assert await asked(http, url, 4) == {"one": 2, "two": 2}
    stopping[LIFECYCLE].stop()
    assert await asked(http, url, 6) == {"two": 6}


async def test_the_only_one_that_is_stopping_says_so(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp
) -> None:
    stopping = base_app(ServiceInfo("media-store", "Serves"), ServerSettings(), ())
    url = await open_gateway(media_store_url=await serve_app(stopping))
    stopping[LIFECYCLE].stop()
    async with http.get(f"{url}/media/a") as answer:
        assert (await answer.json())["code"] == "service_stopping"


async def test_what_one_address_took_and_did_not_answer_another_is_asked_where_that_changes_nothing(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp
) -> None:
    async def die(_head: bytes, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        raise ConnectionResetError

    async with wire_server(die) as dying:
        url = await open_gateway(media_store_url=(dying.url, await serve_app(named("two"))))
        assert await asked(http, url, 6) == {"two": 6}
        assert dying.connections < 3  # the others do not try it first, as every second one would
        await asyncio.sleep(FIRST_REST_S)
        statuses = []
        for _ in range(4):
            async with http.post(f"{url}/store-image", data=b"x" * 100) as answer:
                statuses.append(answer.status)
        assert set(statuses) == {200, 502}  # an upload may have been taken: who sent it decides
