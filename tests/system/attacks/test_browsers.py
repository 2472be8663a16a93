"""What another site could make a visitor's browser do: read answers across origins, follow redirects, run what was uploaded."""

from __future__ import annotations

import json
from collections.abc import Iterator

import aiohttp
import pytest

from tests.support.raw_http import RawAnswer, ask
from tests.support.stack import Stack
from tests.system.attacks.hostile_uploads import BOUNDARY, FAMILIES, JPEG, file, form

SHOP = "http://localhost:3000"
STRANGERS = (
    "null", "http://evil.example", "https://localhost:3000", "http://localhost", "http://localhost:30000", "http://localhost:300",
    "http://localhost:3000.evil.example", "http://localhost:3000@evil.example", "http://evil.example#http://localhost:3000",
    "http://evil.example/http://localhost:3000", "http://LOCALHOST:3000", "HTTP://localhost:3000", "http://localhost:3000/",
    "http://sub.localhost:3000", "http://xlocalhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000", "file://", "*",
    "http://localhost:3000, http://evil.example", "http://localhost:3000 http://evil.example", "http://localhost:3000%00",
    "chrome-extension://localhost:3000", "http://localhost%2e:3000", "http://localhost.:3000", "//localhost:3000",
    "localhost:3000",
)  # fmt: skip
DOORS = ("gateway", "auth-verify", "temp-image", "checkout")
# One of each kind: good, refused, forbidden, missing, another method, no path, no HTTP.
ASKED: dict[str, bytes] = {
    "a good answer": b"GET /health HTTP/1.1\r\nHost: shop\r\n",
    "a missing path": b"GET /nothing HTTP/1.1\r\nHost: shop\r\n",
    "another method": b"DELETE /health HTTP/1.1\r\nHost: shop\r\n",
    "a strange method": b"BREW /health HTTP/1.1\r\nHost: shop\r\n",
    "a path with two readings": b"GET /media/../x HTTP/1.1\r\nHost: shop\r\n",
    "no HTTP": b"GET /health HTTP/1.1\r\nHost: shop\r\nA B: c\r\n",
    "an old version": b"GET /health HTTP/0.9\r\nHost: shop\r\n",
    "a strange expectation": b"GET /health HTTP/1.1\r\nHost: shop\r\nExpect: x\r\n",
    "an encoded body": b"POST /health HTTP/1.1\r\nHost: shop\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n",
    "no token": b"POST /api/checkout/refunds HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n",
    "a missing image": b"GET /media/x HTTP/1.1\r\nHost: shop\r\n",
    "a preflight": b"OPTIONS /api/checkout/refunds HTTP/1.1\r\nHost: shop\r\nAccess-Control-Request-Method: POST\r\n",
    "a preflight of no path": b"OPTIONS /nothing HTTP/1.1\r\nHost: shop\r\nAccess-Control-Request-Method: POST\r\n",
}


async def from_origin(site: Stack, door: str, request: bytes, origin: str) -> RawAnswer:
    return await ask(site.url(door), request + f"Origin: {origin}\r\n\r\n".encode("latin-1"))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("origin", STRANGERS)
async def test_no_strangers_page_reads_an_answer(site: Stack, origin: str, door: str) -> None:
    for name, request in ASKED.items():
        answer = await from_origin(site, door, request, origin)
        assert "access-control-allow-origin" not in answer.headers, name
        assert "access-control-allow-credentials" not in answer.headers, name
        assert "Origin" in ", ".join(answer.headers["vary"]), name


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ASKED)
async def test_the_shops_page_reads_every_answer_and_sends_no_cookies(site: Stack, name: str, door: str) -> None:
    answer = await from_origin(site, door, ASKED[name], SHOP)
    assert answer.headers["access-control-allow-origin"] == [SHOP]
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in ", ".join(answer.headers["vary"])
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("door", DOORS)
async def test_two_origins_are_none(site: Stack, door: str) -> None:
    for first, second in ((SHOP, "http://evil.example"), ("http://evil.example", SHOP)):
        request = ASKED["a good answer"] + f"Origin: {first}\r\n".encode()
        allowed = (await from_origin(site, door, request, second)).headers.get("access-control-allow-origin", [])
        assert allowed in ([], [SHOP])


HEADERS = ("X-Evil", "Cookie", "X-Forwarded-For", "X-Keepsake-Gateway", "Authorization, X-Evil", "*")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("header", HEADERS)
async def test_a_preflight_allows_no_other_header(site: Stack, header: str, door: str) -> None:
    path = {"gateway": "/api/auth/me", "auth-verify": "/api/auth/me", "temp-image": "/api/temp-image-upload"}
    request = f"OPTIONS {path.get(door, '/api/checkout/refunds')} HTTP/1.1\r\nHost: shop\r\n"
    request += f"Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: {header}\r\n"
    answer = await from_origin(site, door, request.encode(), SHOP)
    allowed = ",".join(answer.headers.get("access-control-allow-headers", [])).lower()
    assert not {"x-evil", "cookie", "x-forwarded-for", "x-keepsake-gateway", "*"} & set(
        allowed.replace(" ", "").split(",")
    )


def elsewheres() -> Iterator[str]:
    for path in ("", "/media", "/api/auth", "/store-image", "/api/checkout/session-status", "/health", "/openapi.json"):
        for trick in (
            "//evil.example", "//evil.example/", "///evil.example/..", "/\\evil.example", "/%5cevil.example", "/%2fevil.example",
            "/https://evil.example", "/https:evil.example", "/.evil.example", "/@evil.example",
            "/%0d%0aLocation:%20//evil.example",
            "?next=//evil.example", "?url=https://evil.example", "?redirect_uri=https://evil.example&return_url=//evil.example",
        ):  # fmt: skip
            yield path + trick if path or trick.startswith("/") else "/" + trick


@pytest.mark.parametrize("target", sorted(set(elsewheres())))
async def test_no_address_leads_elsewhere(site: Stack, target: str) -> None:
    for door in ("gateway", "temp-image"):
        for method in ("GET", "POST"):
            request = f"{method} {target} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"
            answer = await ask(site.url(door), request.encode("latin-1"))
            assert answer.status not in range(300, 400)
            assert "location" not in answer.headers
            assert b"evil" not in answer.body


SLASHED = (
    "/api/temp-image-upload",
    "/api/auth/login",
    "/api/auth/register",
    "/api/checkout/embedded-session",
    "/store-image",
)


@pytest.mark.parametrize("path", SLASHED)
async def test_a_trailing_slash_is_no_redirect(http: aiohttp.ClientSession, site: Stack, path: str) -> None:
    """A redirected POST loses its body, and may lose its way."""
    statuses = []
    for spelling in (path, path + "/"):
        async with http.post(site.url("gateway") + spelling, data=b"", allow_redirects=False) as answer:
            statuses.append(answer.status)
    assert statuses[0] == statuses[1]
    assert statuses[0] >= 400


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "localhost.evil.example", "x"])
async def test_no_answer_is_made_of_the_host_that_was_asked_for(site: Stack, host: str) -> None:
    session = b"POST /api/checkout/embedded-session HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
    request = session % host.encode() + b"Content-Length: 2\r\n\r\n{}"
    for door in ("gateway", "checkout"):
        answer = await ask(site.url(door), request)
        assert answer.status == 200
        assert b"evil" not in answer.body
    for path in ("/", "/health", "/openapi.json"):
        answer = await ask(site.url("gateway"), f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b"evil" not in answer.body


@pytest.mark.parametrize("name", FAMILIES["polyglots"]())
async def test_what_was_uploaded_is_never_run(site: Stack, name: str) -> None:
    upload = FAMILIES["polyglots"]()[name]
    head = f"POST /api/temp-image-upload HTTP/1.1\r\nHost: shop\r\nContent-Type: {upload.content_type}\r\n"
    kept = await ask(site.url("gateway"), f"{head}Content-Length: {len(upload.body)}\r\n\r\n".encode() + upload.body)
    if kept.status != 200:
        return
    path = f"/api/temp-image-retrieve?imageId={json.loads(kept.body)['imageId']}"
    answer = await ask(site.url("gateway"), f"GET {path} HTTP/1.1\r\nHost: shop\r\nAccept: text/html\r\n\r\n".encode())
    assert answer.headers["content-type"][0].startswith("image/")
    assert answer.headers["x-content-type-options"] == ["nosniff"]
    assert answer.headers["cache-control"] == ["no-store"]
    assert answer.headers["referrer-policy"] == ["no-referrer"]


async def test_a_form_on_another_site_changes_nothing(http: aiohttp.ClientSession, site: Stack) -> None:
    """What a browser sends without asking first carries no token, and cookies count for nothing."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", f"multipart/form-data; boundary={BOUNDARY}"):
        for path in ("/api/v1/organizations", "/api/checkout/refunds", "/api/images/upload"):
            headers = {"Content-Type": kind, "Origin": "http://evil.example", "Cookie": "token=x; session=y"}
            async with http.post(site.url("gateway") + path, data=form(file(JPEG)), headers=headers) as answer:
                assert answer.status == 401
