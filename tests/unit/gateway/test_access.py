from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from gateway.route_table import PublicRoute, build_table
from gateway.settings import GatewaySettings
from shared.auth.access import Access
from tests.support.raw_http import ask, connect
from tests.support.secret_values import INTERNAL, USERS
from tests.support.serving import ServeApp
from tests.unit.gateway.conftest import OpenGateway, bearer, echo_app, token

TABLE = build_table(GatewaySettings(_env_file=None, jwt_secret_key=USERS, internal_secret=INTERNAL))


def filled(path: str) -> str:
    for name in ("{key:.+}", "{username}", "{id}", "{order_id}", "{org_id}", "{user_id}", "{session_id}", "{filename}"):
        path = path.replace(name, "x")
    return path


def routes(access: Access) -> list[Any]:
    return [pytest.param(route, id=f"{route.method} {route.path}") for route in TABLE if route.access is access]


@pytest.mark.parametrize("route", routes(Access.TOKEN) + routes(Access.ADMIN))
class TestRowsWithAToken:
    async def test_none_or_a_forged_one_is_401(
        self, http: aiohttp.ClientSession, gateway: str, route: PublicRoute
    ) -> None:
        forged = {"Authorization": f"Bearer {token(secret='x' * 32)}"}
        for headers, challenge in (({}, "Bearer"), (forged, 'Bearer error="invalid_token"')):
            async with http.request(route.method, gateway + filled(route.path), headers=headers) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == challenge

    async def test_a_good_one_goes_by_its_role(
        self, http: aiohttp.ClientSession, gateway: str, route: PublicRoute
    ) -> None:
        for path in (filled(route.path), filled(route.path) + ("" if route.path.endswith("+}") else "/")):
            async with http.request(route.method, gateway + path, headers=bearer()) as answer:
                assert answer.status == (403 if route.access is Access.ADMIN else 200)
            async with http.request(route.method, gateway + path, headers=bearer(roles=["admin"])) as answer:
                assert answer.status == 200


@pytest.mark.parametrize("route", routes(Access.PUBLIC))
async def test_a_public_row_leaves_the_judgement_of_a_token_to_the_service(
    http: aiohttp.ClientSession, gateway: str, route: PublicRoute
) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        async with http.request(route.method, gateway + filled(route.path), headers=headers) as answer:
            assert answer.status == 200


async def test_store_image_asks_for_a_token_where_the_setting_says_so(
    http: aiohttp.ClientSession, open_gateway: OpenGateway
) -> None:
    url = await open_gateway(store_image_require_auth=True)
    async with http.post(f"{url}/store-image") as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("GET", "/api/temp-image-retrieve?imageId=1", "temp-image"),
        ("POST", "/api/checkout/embedded-session", "checkout"),
        ("POST", "/api/auth/login", "auth-verify"),
    ],
)
async def test_the_clients_address_is_signed_where_the_service_needs_it(
    http: aiohttp.ClientSession, gateway: str, method: str, path: str, service: str
) -> None:
    headers = {"X-Keepsake-Gateway": "forged"}
    async with http.request(method, gateway + path, headers=headers) as answer:
        told = dict((await answer.json())["headers"])
    claims = jwt.decode(told["X-Keepsake-Gateway"], INTERNAL, algorithms=["HS256"], audience=service)
    assert claims["iss"] == "gateway"
    assert claims["addr"] == "127.0.0.1"


async def test_metrics_are_for_those_who_are_allowed(http: aiohttp.ClientSession, open_gateway: OpenGateway) -> None:
    async with http.get(f"{await open_gateway()}/metrics") as answer:
        assert answer.status == 200
        assert "keepsake_http_requests_total" in await answer.text()
    async with http.get(f"{await open_gateway(metrics_allow='10.0.0.0/8')}/metrics") as answer:
        assert answer.status == 404


async def test_a_forwarded_stranger_reads_no_metrics(http: aiohttp.ClientSession, open_gateway: OpenGateway) -> None:
    url = await open_gateway(trusted_proxies="127.0.0.1")
    async with http.get(f"{url}/metrics", headers={"X-Forwarded-For": "203.0.113.9"}) as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    ("trusted", "given", "expected"),
    [
        ("", "203.0.113.9", "127.0.0.1"),
        ("10.0.0.0/8", "203.0.113.9", "127.0.0.1"),
        ("127.0.0.0/8", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.0/8", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.0/8,10.0.0.0/8", "6.6.6.6, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("127.0.0.0/8", "nonsense", "127.0.0.1"),
        ("127.0.0.0/8", "6.6.6.6, nonsense", "127.0.0.1"),
        ("127.0.0.0/8", "", "127.0.0.1"),
        ("127.0.0.0/8", "::ffff:203.0.113.9", "203.0.113.9"),
        ("127.0.0.0/8", "[2001:db8::1]:4711", "2001:db8::1"),
        ("127.0.0.0/8", "203.0.113.9:4711", "203.0.113.9"),
    ],
)
async def test_the_address_is_what_trusted_proxies_say(
    http: aiohttp.ClientSession,
    open_gateway: OpenGateway,
    serve_app: ServeApp,
    *,
    trusted: str,
    given: str,
    expected: str,
) -> None:
    url = await open_gateway(trusted_proxies=trusted, media_store_url=await serve_app(echo_app()))
    headers = {"X-Forwarded-For": given, "X-Forwarded-Proto": "https"}
    async with http.get(f"{url}/media/a", headers=headers) as answer:
        told = dict((await answer.json())["headers"])
    assert told["X-Forwarded-For"] == expected
    assert told["X-Forwarded-Proto"] == ("https" if trusted.startswith("127") else "http")


UPLOADS = [
    ("/api/temp-image-upload", 5 * 2**20 + 2 * 2**20, "5 MiB"),
    ("/store-image", 10 * 2**20 + 2 * 2**20, "10 MiB"),
    ("/api/upload_user_image/", 10 * 2**20 + 2 * 2**20, "10 MiB"),
    ("/api/images/upload", 50 * 2**20 + 2 * 2**20, "10 MiB"),
    ("/api/auth/login", 64 * 1024, "64 KiB"),
    ("/api/checkout/webhook", 2**20, "1 MiB"),
]


@pytest.mark.parametrize(("path", "most", "limit"), UPLOADS)
async def test_a_body_that_says_it_is_too_large_is_refused_unread(
    gateway: str, path: str, most: int, limit: str
) -> None:
    authorization = f"Authorization: {bearer()['Authorization']}\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{authorization}Content-Length: {most + 1}\r\n"
    answer = await ask(gateway, f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert answer.status == 413
    assert limit in answer.body.decode()
    answer = await ask(gateway, f"{head}\r\n".encode())
    assert answer.status == 413


@pytest.mark.parametrize(("path", "most", "limit"), UPLOADS[-2:])
async def test_a_chunked_body_is_cut_at_the_limit(gateway: str, path: str, most: int, limit: str) -> None:
    async with connect(gateway) as client:
        await client.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(most // 1024 + 1):
            await client.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        answer = await client.answer()
    assert answer.status == 413
    assert limit in answer.body.decode()


async def test_the_body_is_asked_for_only_when_it_is_wanted(serve_app: ServeApp, open_gateway: OpenGateway) -> None:
    url = await open_gateway(media_store_url=await serve_app(echo_app()))
    head = b"Host: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    async with connect(url) as client:
        await client.send(b"POST /store-image HTTP/1.1\r\n" + head)
        assert (await client.answer()).status == 100
        await client.send(b"abc")
        assert b'"body": "abc"' in (await client.answer()).body
    async with connect(url) as client:
        await client.send(b"POST /api/upload_user_image HTTP/1.1\r\n" + head)
        assert (await client.answer()).status == 401


def test_settings_that_mean_nothing_stop_the_start(tmp_path: Path) -> None:
    every: tuple[dict[str, Any], ...] = (
        {"rate_limit_login": "ten a minute"},
        {"rate_limit_default": "0/minute"},
        {"rate_limit_store_image": "10/fortnight"},
        {"media_store_url": "localhost:8002"},
        {"media_store_url": "http://a/b"},
        {"metrics_allow": "localhost"},
    )
    for wrong in every:
        with pytest.raises(ValueError, match="validation error"):
            GatewaySettings(_env_file=None, jwt_secret_key=USERS, internal_secret=INTERNAL, **wrong)


def test_services_are_where_their_port_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIA_STORE_PORT", "18002")
    monkeypatch.setenv("TEMP_IMAGE_URL", "http://a:1, http://b:2")
    settings = GatewaySettings(_env_file=None, jwt_secret_key=USERS, internal_secret=INTERNAL)
    assert settings.addresses()["media-store"] == ("http://localhost:18002",)
    assert settings.addresses()["temp-image"] == ("http://a:1", "http://b:2")
    assert settings.addresses()["auth-verify"] == ("http://localhost:8000",)


def test_every_row_is_unique() -> None:
    keys = [(route.method, route.path.rstrip("/")) for route in TABLE]
    assert len(keys) == len(set(keys))
