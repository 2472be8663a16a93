"""Behind a real nginx, with its own defaults and as `deploy/nginx` shows: nothing is lost, and refusals arrive."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import jwt
import pytest
from yarl import URL

from tests.support import pictures
from tests.support.nginx import defaults, example, nginx_before
from tests.support.stack import Stack, running_stack

RETRIEVE = "/api/temp-image-retrieve"
PATIENCE_S = 30
LOGINS = 5
NAMES = ("temp-image", "media-store", "planter-orders", "gateway")


@dataclass(frozen=True)
class Site:
    """The address of nginx, and what is behind it."""

    url: str
    stack: Stack
    example: bool

    def bearer(self, **claims: object) -> dict[str, str]:
        claims = {"sub": "ann", "exp": 4102444800, "iss": "keepsake", "aud": "keepsake", **claims}
        return {"Authorization": f"Bearer {jwt.encode(claims, self.stack.settings['JWT_SECRET_KEY'], 'HS256')}"}


@pytest.fixture(scope="module")
def stack_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"TRUSTED_PROXIES": "127.0.0.1/32", "RATE_LIMIT_LOGIN": f"{LOGINS}/hour"}
    with running_stack(tmp_path_factory.mktemp("stack"), settings, *NAMES) as whole:
        yield whole


@pytest.fixture(scope="module", params=["defaults", "example"])
def site(
    request: pytest.FixtureRequest, stack_behind: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    is_example = request.param == "example"
    folder: Path = tmp_path_factory.mktemp("nginx") / "prefix"
    with nginx_before(stack_behind.url("gateway"), folder, example if is_example else defaults) as port:
        yield Site(f"http://127.0.0.1:{port}", stack_behind, is_example)


@pytest.fixture
async def http(site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(site.url) as session:
        yield session


def form(image: bytes, name: str = "image", **fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData(fields)
    data.add_field(name, io.BytesIO(image), filename="a.bin", content_type="image/jpeg")
    return data


async def upload(base_url: str, image: bytes) -> str:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{base_url}/api/temp-image-upload", data=form(image)) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["imageId"])


async def retrieve(http: aiohttp.ClientSession, image_id: str) -> tuple[int, bytes]:
    async with http.get(RETRIEVE, params={"imageId": image_id}) as answer:
        return answer.status, await answer.read()


@asynccontextmanager
async def cut_after(url: str, image_id: str, size: int) -> AsyncIterator[None]:
    """Read so many bytes of the image, then reset the connection, as a phone does that loses its network."""
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        parts, loop = URL(url), asyncio.get_running_loop()
        await loop.sock_connect(sock, (parts.host, parts.port))
        await loop.sock_sendall(
            sock, f"GET {RETRIEVE}?imageId={image_id} HTTP/1.1\r\nHost: {parts.authority}\r\n\r\n".encode()
        )
        while size > 0:
            size -= len(await loop.sock_recv(sock, size))
        yield
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# With nginx's defaults its system may take more than 5 MB before the browser reads them: docs/operations.md.
@pytest.mark.parametrize("site", ["example"], indirect=True)
@pytest.mark.parametrize("read", [1, 100_000])
async def test_a_download_that_breaks_off_leaves_the_image_there(
    site: Site, http: aiohttp.ClientSession, read: int
) -> None:
    image = pictures.of_bytes(3_000_000)
    image_id = await upload(site.stack.url("gateway"), image)
    async with cut_after(site.url, image_id, read):
        await asyncio.sleep(0.3)
        assert (await retrieve(http, image_id))[0] == 404
    got = await retrieve(http, image_id)
    for _ in range(PATIENCE_S * 10):
        if got[0] == 200:
            break
        await asyncio.sleep(0.1)
        got = await retrieve(http, image_id)
    assert got == (200, image)
    assert (await retrieve(http, image_id))[0] == 404


async def test_an_image_is_handed_out_whole_and_once(site: Site, http: aiohttp.ClientSession) -> None:
    for image in (pictures.jpeg(), pictures.of_bytes(900_000)):
        image_id = await upload(site.url, image)
        assert await retrieve(http, image_id) == (200, image)
        assert (await retrieve(http, image_id))[0] == 404


async def test_what_nginx_lets_through_is_kept_as_it_was_sent(site: Site, http: aiohttp.ClientSession) -> None:
    for size in (900_000, 6_000_000) if site.example else (900_000,):
        image = pictures.of_bytes(size)
        async with http.post("/store-image", data=form(image, session_id="s")) as answer:
            assert answer.status == 200, await answer.text()
            kept = await answer.json()
        async with http.get(URL(kept["url"]).path) as answer:
            assert (answer.status, len(await answer.read())) == (200, kept["size"])


async def test_a_large_upload_is_refused_with_the_limit(site: Site, http: aiohttp.ClientSession) -> None:
    async with http.post("/api/temp-image-upload", data=form(bytes(12_000_000))) as answer:
        assert answer.status == 413
        if site.example:  # by default nginx refuses by itself what is over 1 MB, in words of its own
            assert answer.content_type == "application/problem+json"
            assert "5 MiB" in (await answer.json())["detail"]


async def test_a_refusal_that_comes_before_the_uploads_end_arrives(site: Site, http: aiohttp.ClientSession) -> None:
    async with http.post("/api/images/upload", data=form(bytes(900_000), "files")) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert (await answer.json())["status"] == 401
    async with http.get("/no-such-path", headers={"Origin": "http://localhost:3000"}) as answer:
        assert answer.status == 404
        assert answer.content_type == "application/problem+json"
        assert answer.headers.getall("Access-Control-Allow-Origin") == ["http://localhost:3000"]


async def test_events_arrive_when_they_happen(site: Site, http: aiohttp.ClientSession) -> None:
    headers = site.bearer()
    async with http.post("/api/images/upload", data=form(pictures.jpeg(), "files"), headers=headers) as answer:
        order_id = (await answer.json())["order_id"]
    async with (
        asyncio.timeout(PATIENCE_S),
        http.get(f"/api/images/orders/{order_id}/events", headers=headers) as stream,
    ):
        assert stream.content_type == "text/event-stream"
        assert await event_of(stream, "pending")
        admin = site.bearer(sub="root", roles=["admin"])
        change = {"status": "cancelled", "note": ""}
        async with http.patch(f"/api/admin/orders/{order_id}", json=change, headers=admin) as answer:
            assert answer.status == 200
        assert await event_of(stream, "cancelled")


async def event_of(stream: aiohttp.ClientResponse, status: str) -> bool:
    """Read on until the event of this status."""
    async for line in stream.content:
        if line.startswith(b"data:") and json.loads(line[5:]).get("status") == status:
            return True
    return False


async def test_the_limits_count_browsers_where_the_proxy_names_them(site: Site) -> None:
    async def log_in(address: str) -> int:
        connector = aiohttp.TCPConnector(local_addr=(address, 0))
        claimed = {"X-Forwarded-For": f"192.0.2.{secrets.randbelow(256)}"} if site.example else {}
        async with (
            aiohttp.ClientSession(site.url, connector=connector) as http,
            http.post("/api/auth/login", json={}, headers=claimed) as answer,
        ):
            return answer.status

    assert 429 in [await log_in("127.0.0.5") for _ in range(LOGINS + 1)]
    assert (await log_in("127.0.0.6") == 429) is not site.example  # by default nginx names nobody: all are one address
