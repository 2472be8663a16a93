from __future__ import annotations

import json

import pytest

from gateway.admission import is_unambiguous
from tests.support.raw_http import ask
from tests.unit.gateway.conftest import OpenGateway

AMBIGUOUS = [
    "/media/../internal/x",
    "/media/..",
    "/media/./x",
    "/media/.",
    "/./media/x",
    "/media/a..b",
    "//media/x",
    "/media//x",
    "/media/x//",
    "/media/a\\b",
    "/media/a;b",
    "/media/..;/internal",
    "/media/%2e%2e/x",
    "/media/.%2E/x",
    "/media/%2e/x",
    "/media/a%2fb",
    "/media/a%2Fb",
    "/media/a%5cb",
    "/media/a%5Cb",
    "/media/a%25b",
    "/media/a%252fb",
    "/media/a%3bb",
    "/media/a%00b",
    "/media/a%0ab",
    "/media/a%0d%0ab",
    "/media/a%1fb",
    "/media/a%7fb",
    "/media/a%zz",
    "/media/a%",
    "/media/a%2",
    "/media/a%u002f",
    "/media/a#b",
    "/media/a?b#c",
    "/no/such/path/../x",
    "/no%2fsuch",
    "*",
    "http://shop//media/a",
    "http://shop/media/%2e%2e/x",
    "http://me@shop/media/a",
    "ftp://shop/media/a",
    "/media/%ff",
    "/media/a?b=%e2%82",
    "https://evil.example:443/../a",
    "evil.example:443",
    "media/a",
    "?a=b",
    "\\media",
]


@pytest.mark.parametrize("target", AMBIGUOUS)
async def test_a_target_with_two_readings_is_refused(gateway: str, target: str) -> None:
    answer = await ask(gateway, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.status == 400
    assert answer.headers["content-type"] == ["application/problem+json"]
    assert json.loads(answer.body)["code"] in {"path_not_allowed", "malformed_request"}


@pytest.mark.parametrize("target", ["http://shop.example:81/media/a?w=160", "HTTPS://shop.example:81/media/a?w=160"])
async def test_a_target_in_absolute_form_is_taken_and_names_the_host(gateway: str, target: str) -> None:
    answer = await ask(gateway, f"GET {target} HTTP/1.1\r\nHost: other\r\n\r\n".encode())
    told = json.loads(answer.body)
    assert told["target"] == "/media/a?w=160"
    assert ["X-Forwarded-Host", "shop.example:81"] in told["headers"]


async def test_bytes_that_are_no_utf_8_are_refused(gateway: str) -> None:
    assert (await ask(gateway, b"GET /media/a\xff HTTP/1.1\r\nHost: a\r\n\r\n")).status == 400


@pytest.mark.parametrize("target", ["/media/a.b", "/media/.a", "/media/a.", "/media/caf%C3%A9", "/a?..//;%2f%zz", "/"])
def test_a_plain_target_is_taken(target: str) -> None:
    assert is_unambiguous(target)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/internal/claims/x/y/confirm",
        "/internal",
        "/temp-image/health",
        "/media-store/metrics",
        "/api/auth",
        "/api/images/orders/x/y",
        "/api/auth/loginx",
        "/API/AUTH/LOGIN",
        "/.well-known/other",
    ],
)
async def test_what_is_not_in_the_table_is_not_there(gateway: str, path: str) -> None:
    answer = await ask(gateway, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.status == 404
    assert json.loads(answer.body)["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/store-image", {"POST"}),
        ("GET", "/store-image/", {"POST"}),
        ("POST", "/api/temp-image-retrieve", {"GET", "HEAD"}),
        ("GET", "/media", {"POST"}),
        ("GET", "/media/", {"POST"}),
        ("PUT", "/media/a", {"GET", "HEAD", "DELETE"}),
        ("PUT", "/api/user_image/1/delete/", {"DELETE", "POST"}),
        ("DELETE", "/api/auth/login", {"POST"}),
        ("TRACE", "/api/auth/login", {"POST"}),
        ("OPTIONS", "/api/auth/login", {"POST"}),
        ("PROPFIND", "/api/auth/login", {"POST"}),
        ("POST", "/health", {"GET", "HEAD"}),
    ],
)
async def test_another_method_is_told_which_there_are(gateway: str, method: str, path: str, allow: set[str]) -> None:
    answer = await ask(gateway, f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.status == 405
    assert allow <= set(answer.headers["allow"][0].split(", ")) <= allow | {"OPTIONS"}


async def test_a_service_that_is_down_is_named(open_gateway: OpenGateway) -> None:
    url = await open_gateway()
    for path, service in (
        ("/api/temp-image-retrieve?imageId=1", "temp-image"),
        ("/media/a", "media-store"),
        ("/.well-known/jwks.json", "auth-verify"),
        ("/api/checkout/session-status", "checkout"),
    ):
        answer = await ask(url, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert answer.status == 503
        assert json.loads(answer.body)["code"] == "service_unavailable"
        assert service in json.loads(answer.body)["error"]
        assert int(answer.headers["retry-after"][0]) >= 1
