from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from gateway import openapi
from gateway.route_table import build_table
from gateway.settings import GatewaySettings
from shared.app.factory import base_app
from shared.app.middleware import LIFECYCLE
from shared.app.openapi import public_path
from shared.app.routes import Answer, Route, ServiceInfo
from shared.settings import ServerSettings
from tests.support.raw_http import connect
from tests.support.secret_values import INTERNAL, USERS
from tests.support.serving import ServeApp
from tests.unit.gateway.conftest import SERVICES, OpenGateway, bearer, dead_url, echo_app
from tests.unit.gateway.wire_server import wire_server

NAMES = {"auth-verify", "temp-image", "media-store", "checkout", "planter-orders"}


class Thing(BaseModel):
    size: int


class OtherThing(BaseModel):
    colour: str


OtherThing.__name__ = OtherThing.__qualname__ = "Thing"


async def nothing(_request: web.Request) -> web.Response:
    return web.Response()


def service(name: str, path: str, model: type[BaseModel]) -> web.Application:
    routes = (
        Route(method="GET", path=path, handler=nothing, summary=f"Of {name}", answers={200: Answer("It", model)}),
        Route(method="GET", path=f"/hidden/{name}", handler=nothing, summary="Not in the table"),
    )
    return base_app(ServiceInfo(name, name), ServerSettings(), routes)


async def get(http: aiohttp.ClientSession, url: str) -> tuple[int, dict[str, Any]]:
    async with http.get(url) as answer:
        return answer.status, await answer.json()


async def test_health_tells_each_service_apart(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp
) -> None:
    url = await open_gateway(media_store_url=await serve_app(echo_app()))
    status, body = await get(http, f"{url}/health")
    assert status == 200
    assert body["status"] == "degraded"
    assert body["timestamp"].endswith("Z")
    assert body["services"] == {name: {"status": "healthy" if name == "media-store" else "unhealthy"} for name in NAMES}


async def test_health_is_healthy_when_all_are(http: aiohttp.ClientSession, gateway: str) -> None:
    status, body = await get(http, f"{gateway}/health/")
    assert (status, body["status"]) == (200, "healthy")


async def test_a_service_that_never_answers_is_unhealthy(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.upstream.exchange.FETCH_TIMEOUT_S", 0.05)

    async def never(_head: bytes, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with wire_server(never) as wire:
        _, body = await get(http, f"{await open_gateway(checkout_url=wire.url)}/health")
    assert body["services"]["checkout"] == {"status": "unhealthy"}


async def test_health_asked_often_asks_seldom(http: aiohttp.ClientSession, open_gateway: OpenGateway) -> None:
    async def fine(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with wire_server(fine) as wire:
        url = await open_gateway(checkout_url=wire.url)
        await asyncio.gather(*(get(http, f"{url}/health") for _ in range(20)))
        assert len(wire.heads) <= 2


async def test_ready_while_any_service_answers(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp
) -> None:
    status, _ = await get(http, f"{await open_gateway()}/ready")
    assert status == 503
    status, _ = await get(http, f"{await open_gateway(checkout_url=await serve_app(echo_app()))}/ready")
    assert status == 200


async def test_the_front_page_lists_the_table(http: aiohttp.ClientSession, gateway: str) -> None:
    _, body = await get(http, f"{gateway}/")
    assert {"service", "version", "description", "endpoints"} <= set(body)
    assert "POST /store-image" in body["endpoints"]


class TestOpenApi:
    async def test_the_services_documents_are_put_together(
        self, http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp
    ) -> None:
        url = await open_gateway(
            temp_image_url=await serve_app(service("temp-image", "/api/temp-image-retrieve", Thing)),
            checkout_url=await serve_app(service("checkout", "/api/checkout/session-status", OtherThing)),
        )
        _, body = await get(http, f"{url}/openapi.json")
        OpenAPIV31SpecValidator(body).validate()
        one = body["paths"]["/api/temp-image-retrieve"]["get"]
        two = body["paths"]["/api/checkout/session-status"]["get"]
        assert one["summary"] == "Of temp-image"
        schemas = body["components"]["schemas"]
        found = []
        for operation in (one, two):
            reference = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
            found.append(set(schemas[reference.rsplit("/", 1)[1]]["properties"]))
        assert found == [{"size"}, {"colour"}]
        assert not [path for path in body["paths"] if path.startswith(("/hidden", "/metrics", "/ready", "/internal"))]

    async def test_every_row_is_described_even_while_its_service_is_down(
        self, http: aiohttp.ClientSession, open_gateway: OpenGateway
    ) -> None:
        _, body = await get(http, f"{await open_gateway()}/openapi.json")
        OpenAPIV31SpecValidator(body).validate()
        table = build_table(GatewaySettings(_env_file=None, jwt_secret_key=USERS, internal_secret=INTERNAL))
        for route in table:
            assert route.method.lower() in body["paths"][public_path(route.path)]

    async def test_a_service_that_goes_down_stays_described(
        self,
        http: aiohttp.ClientSession,
        open_gateway: OpenGateway,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(openapi, "REMEMBERED_S", 0.0)
        document = b'{"openapi":"3.1.0","paths":{"/media/{key}":{"get":{"summary":"Said once","responses":{}}}}}'

        async def once(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(wire.heads) > 1:
                raise ConnectionResetError
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document))

        async with wire_server(once) as wire:
            url = await open_gateway(media_store_url=wire.url)
            for _ in range(3):
                _, body = await get(http, f"{url}/openapi.json")
                assert body["paths"]["/media/{key}"]["get"]["summary"] == "Said once"

    @pytest.mark.parametrize("document", [b"[]", b"{", b'{"paths":1}', b"[" * 100_000])
    async def test_a_document_that_is_none_is_left_out(
        self, http: aiohttp.ClientSession, open_gateway: OpenGateway, document: bytes
    ) -> None:
        async def say(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document))

        async with wire_server(say) as wire:
            status, body = await get(http, f"{await open_gateway(media_store_url=wire.url)}/openapi.json")
        assert status == 200
        assert "/store-image" in body["paths"]


class TestEvents:
    async def test_each_event_comes_as_it_happens(self, open_gateway: OpenGateway) -> None:
        go_on = asyncio.Event()

        async def tell(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for text in (b"one", b"two"):
                writer.write(b"%x\r\n%s\r\n" % (len(text), text))
                await writer.drain()
                await go_on.wait()
            writer.write(b"0\r\n\r\n")

        async with wire_server(tell) as wire:
            url = await open_gateway(planter_orders_url=wire.url)
            async with connect(url) as client:
                head = (
                    f"GET /api/images/orders/x/events HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer()['Authorization']}"
                )
                await client.send(f"{head}\r\nLast-Event-ID: 3\r\n\r\n".encode())
                assert b"text/event-stream" in await client.reader.readuntil(b"\r\n\r\n")
                assert await client.reader.readexactly(8) == b"3\r\none\r\n"
                go_on.set()
                assert await client.reader.readexactly(13) == b"3\r\ntwo\r\n0\r\n\r\n"
            assert b"last-event-id: 3\r\n" in wire.heads[0].lower()

    async def test_a_gateway_that_stops_ends_them(self, serve_app: ServeApp, open_gateway: OpenGateway) -> None:
        async def forever(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            await writer.drain()
            await reader.read()
            raise ConnectionResetError

        from gateway.app import create_app

        async with wire_server(forever) as wire:
            addresses: dict[str, Any] = {f"{name}_url": (dead_url(),) for name in SERVICES} | {
                "planter_orders_url": (wire.url,)
            }
            app = create_app(
                GatewaySettings(
                    _env_file=None,
                    jwt_secret_key=USERS,
                    internal_secret=INTERNAL,
                    rate_limit_default="off",
                    **addresses,
                )
            )
            async with connect(await serve_app(app)) as client:
                head = (
                    f"GET /api/images/orders/x/events HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer()['Authorization']}"
                )
                await client.send(f"{head}\r\n\r\n".encode())
                await client.reader.readuntil(b"one\r\n")
                app[LIFECYCLE].stop()
                assert await client.rest() == b""
                async with asyncio.timeout(10):
                    await app[LIFECYCLE].idle.wait()
