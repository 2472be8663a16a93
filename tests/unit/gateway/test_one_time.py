from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gateway import one_time_delivery, stalled_reader
from services.temp_image.app import build_app
from services.temp_image.settings import TempImageSettings
from shared.metrics import CLAIMS_SETTLED
from tests.support import pictures
from tests.support.secret_values import INTERNAL, USERS
from tests.support.serving import ServeApp
from tests.unit.gateway.conftest import OpenGateway
from tests.unit.gateway.wire_server import wire_server

SMALL = pictures.jpeg()
LARGE = pictures.of_bytes(3_000_000)


@pytest.fixture(params=["disk", "redis"])
async def url(request: pytest.FixtureRequest, tmp_path: Path, serve_app: ServeApp, open_gateway: OpenGateway) -> str:
    settings = TempImageSettings(
        _env_file=None,
        data_dir=tmp_path,
        redis_url=request.getfixturevalue("redis_url") if request.param == "redis" else "",
        jwt_secret_key=USERS,
        internal_secret=INTERNAL,
    )
    service = await serve_app(build_app(settings))
    return await open_gateway(temp_image_url=service)


async def upload(http: aiohttp.ClientSession, url: str, image: bytes) -> str:
    form = aiohttp.FormData()
    form.add_field("image", BytesIO(image), filename="cat.jpg")
    async with http.post(f"{url}/api/temp-image-upload", data=form) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["imageId"])


async def retrieve(http: aiohttp.ClientSession, url: str, image_id: str) -> tuple[int, bytes]:
    async with http.get(f"{url}/api/temp-image-retrieve", params={"imageId": image_id}) as answer:
        assert "X-Keepsake-Claim" not in answer.headers
        return answer.status, await answer.read()


async def is_back(http: aiohttp.ClientSession, url: str, image_id: str) -> bool:
    """Ask until it is there again: giving back takes a moment."""
    for _ in range(200):
        async with http.head(f"{url}/api/temp-image-retrieve", params={"imageId": image_id}) as answer:
            if answer.status == 200:
                return True
        await asyncio.sleep(0.05)
    return False


@asynccontextmanager
async def reader(url: str, image_id: str, *, buffer_bytes: int = 4096) -> AsyncIterator[socket.socket]:
    """A client that has asked for the image and takes as little as the system lets it before it reads."""
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (host, int(port)))
        await loop.sock_sendall(
            sock, f"GET /api/temp-image-retrieve?imageId={image_id} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        )
        yield sock


async def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await asyncio.get_running_loop().sock_recv(sock, 65536)
        if not piece:
            break
        data += piece
    return data


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("image", [SMALL, LARGE], ids=["small", "large"])
async def test_the_image_comes_back_once(http: aiohttp.ClientSession, url: str, image: bytes) -> None:
    image_id = await upload(http, url, image)
    assert await retrieve(http, url, image_id) == (200, image)
    status, _ = await retrieve(http, url, image_id)
    assert status == 404


async def test_a_delivery_is_confirmed_as_soon_as_its_service_is_back(
    http: aiohttp.ClientSession, serve_app: ServeApp, open_gateway: OpenGateway
) -> None:
    """A restart takes seconds; given up, the image would be handed out a second time."""
    refusals, confirmed = 4, asyncio.Event()

    async def hand_out(_request: web.Request) -> web.Response:
        return web.Response(body=SMALL, content_type="image/jpeg", headers={"X-Keepsake-Claim": "c" * 32})

    async def confirm(_request: web.Request) -> web.Response:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            return web.Response(status=503)
        confirmed.set()
        return web.Response(status=204)

    service = web.Application()
    service.router.add_get("/api/temp-image-retrieve", hand_out)
    service.router.add_post(f"/internal/claims/{'a' * 32}/{'c' * 32}/confirm", confirm)
    gateway = await open_gateway(temp_image_url=await serve_app(service))
    assert await retrieve(http, gateway, "a" * 32) == (200, SMALL)
    async with asyncio.timeout(20):
        await confirmed.wait()


@pytest.mark.parametrize("size", [1, 300_000, 2_500_000])
@pytest.mark.parametrize("way", ["reset", "close"])
async def test_a_transfer_cut_in_the_middle_leaves_the_image(
    http: aiohttp.ClientSession, url: str, size: int, way: str
) -> None:
    image_id = await upload(http, url, LARGE)
    async with reader(url, image_id) as sock:
        await read(sock, size)
        if way == "reset":
            reset(sock)
    assert await is_back(http, url, image_id)
    assert await retrieve(http, url, image_id) == (200, LARGE)


async def test_a_client_that_closes_after_its_last_byte_has_had_it(http: aiohttp.ClientSession, url: str) -> None:
    image_id = await upload(http, url, LARGE)
    async with reader(url, image_id) as sock:
        got = await read(sock, len(LARGE))
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        body += await read(sock, len(LARGE) - len(body))
        assert body == LARGE
    for _ in range(5):
        status, _body = await retrieve(http, url, image_id)
        assert status == 404


async def test_a_slow_reader_keeps_its_claim(
    http: aiohttp.ClientSession, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalled_reader, "LOOK_EVERY_S", 0.02)
    image_id = await upload(http, url, LARGE)
    got = b""
    async with reader(url, image_id, buffer_bytes=65536) as sock:
        while len(got) < len(LARGE):
            got += await read(sock, min(300_000, len(LARGE) - len(got)))
            await asyncio.sleep(0.01)
            assert (await retrieve(http, url, image_id))[0] == 404
        body = got.partition(b"\r\n\r\n")[2]
        body += await read(sock, len(LARGE) - len(body))
    assert body == LARGE


async def test_a_reader_that_takes_nothing_is_cut_and_the_image_stays(
    http: aiohttp.ClientSession, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalled_reader, "LOOK_EVERY_S", 0.05)
    image_id = await upload(http, url, LARGE)
    async with reader(url, image_id) as sock:
        await read(sock, 1)
        assert await is_back(http, url, image_id)
    assert await retrieve(http, url, image_id) == (200, LARGE)


async def test_head_and_prefetch_use_nothing_up(http: aiohttp.ClientSession, url: str) -> None:
    image_id = await upload(http, url, SMALL)
    params = {"imageId": image_id}
    async with http.head(f"{url}/api/temp-image-retrieve/", params=params) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Length"] == str(len(SMALL))
    async with http.get(
        f"{url}/api/temp-image-retrieve", params=params, headers={"Sec-Purpose": "prefetch;prerender"}
    ) as answer:
        assert answer.status == 403
    assert await retrieve(http, url, image_id) == (200, SMALL)


async def test_a_service_that_dies_in_the_middle_cuts_the_client_off(open_gateway: OpenGateway) -> None:
    content = os.urandom(1_000_000)

    async def half(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET"):
            writer.write(
                b"HTTP/1.1 200 OK\r\nX-Keepsake-Claim: c1\r\nContent-Length: %d\r\n\r\n" % len(content)
                + content[:500_000]
            )
            await writer.drain()
            raise ConnectionResetError
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        released.set()

    released = asyncio.Event()
    async with wire_server(half) as wire:
        url = await open_gateway(temp_image_url=wire.url)
        async with reader(url, "0" * 32) as sock:
            assert len(await read(sock, len(content))) < len(content)
        await released.wait()
        assert wire.heads[1].startswith(b"POST /internal/claims/" + b"0" * 32 + b"/c1/release HTTP/1.1\r\n")


def ends() -> dict[str, float]:
    """How many deliveries have ended in each way, in this process."""
    return {
        sample.labels["end"]: sample.value
        for metric in CLAIMS_SETTLED.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


async def ended_since(before: dict[str, float], count: int) -> dict[str, float]:
    """Wait until so many more have ended; return how many in each way."""
    new: dict[str, float] = {}
    for _ in range(400):
        new = {end: value - before.get(end, 0) for end, value in ends().items() if value > before.get(end, 0)}
        if sum(new.values()) >= count:
            break
        await asyncio.sleep(0.02)
    return new


async def test_each_delivery_is_counted_by_how_it_ended(http: aiohttp.ClientSession, url: str) -> None:
    before = ends()
    for _ in range(3):
        image_id = await upload(http, url, LARGE)
        async with reader(url, image_id) as sock:
            await read(sock, 1000)
        assert await is_back(http, url, image_id)
        assert (await retrieve(http, url, image_id))[0] == 200
    new = await ended_since(before, 6)
    assert new.pop("confirm") == 3
    assert set(new) <= {"release", "already_released"}
    assert sum(new.values()) == 3


@pytest.mark.parametrize(("stands_s", "end"), [(30.0, "already_released"), (0.0, "lapsed")])
async def test_a_claim_that_stands_no_more_was_given_back_or_has_lapsed(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch, stands_s: float, end: str
) -> None:
    async def breaks_off(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\nX-Keepsake-Claim: c1\r\nContent-Length: 9\r\n\r\nhalf")
            await writer.drain()
            raise ConnectionResetError
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    monkeypatch.setattr(one_time_delivery, "CLAIM_STANDS_S", stands_s)
    before = ends()
    async with wire_server(breaks_off) as wire:
        url = await open_gateway(temp_image_url=wire.url)
        with pytest.raises(aiohttp.ClientError):
            await retrieve(http, url, "0" * 32)
        assert await ended_since(before, 1) == {end: 1}
