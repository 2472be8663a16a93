"""The first purchase, from upload to one-time retrieve: on embedded defaults, and on Redis and PostgreSQL."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.support import pictures
from tests.support.postgres import fresh_database
from tests.support.stack import Stack, running_stack

NEEDED = ("auth-verify", "temp-image", "checkout", "stripe-sandbox", "gateway")
MIB = 2**20


@pytest.fixture(scope="module", params=["embedded", "redis and postgres"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if request.param == "embedded":
        yield request.getfixturevalue("stack")
        return
    redis = request.getfixturevalue("redis_server_url").rsplit("/", 1)[0] + "/9"  # another than the other tests empty
    with (
        fresh_database(request.getfixturevalue("postgres_server_url")) as database,
        running_stack(
            tmp_path_factory.mktemp("shop"), {"REDIS_URL": redis, "DATABASE_URL": database}, *NEEDED
        ) as whole,
    ):
        yield whole


@pytest.fixture(params=["gateway", "port"])
def at(request: pytest.FixtureRequest, shop: Stack) -> Callable[[str], str]:
    return shop.url if request.param == "port" else lambda _service: shop.url("gateway")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def upload(http: aiohttp.ClientSession, at: Callable[[str], str], image: bytes) -> str:
    form = aiohttp.FormData()
    form.add_field("image", image, filename="photo.jpg", content_type="image/jpeg")
    async with http.post(at("temp-image") + "/api/temp-image-upload", data=form) as answer:
        assert answer.status == 200
        return str((await answer.json())["imageId"])


async def retrieve(http: aiohttp.ClientSession, at: Callable[[str], str], image_id: str) -> tuple[int, bytes]:
    async with http.get(at("temp-image") + f"/api/temp-image-retrieve?imageId={image_id}") as answer:
        return answer.status, await answer.read()


async def test_a_photo_survives_the_payment_and_comes_back_once(
    shop: Stack, at: Callable[[str], str], http: aiohttp.ClientSession
) -> None:
    image = pictures.of_bytes(300_000, "JPEG")
    image_id = await upload(http, at, image)
    body = {"imageId": image_id}
    async with http.post(at("checkout") + "/api/checkout/embedded-session", json=body) as answer:
        assert answer.status == 200
        session = await answer.json()
    assert session["client_secret"].startswith(session["session_id"])
    pay = f"{shop.url('stripe-sandbox')}/pay/{session['session_id']}"
    async with http.post(pay, data={"action": "pay"}, allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == f"http://localhost:3000/hero-me?session_id={session['session_id']}"
    asked = at("checkout") + f"/api/checkout/session-status?session_id={session['session_id']}"
    async with http.get(asked) as answer:
        status = await answer.json()
    assert (status["status"], status["payment_status"]) == ("complete", "paid")
    assert status["metadata"] == {"imageId": image_id}
    assert await retrieve(http, at, image_id) == (200, image)
    assert (await retrieve(http, at, image_id))[0] == 404


def _cut_after(url: str, path: str, size: int) -> None:
    """Ask, read `size` bytes, and reset the connection."""
    host, port = str(urlsplit(url).hostname), int(urlsplit(url).port or 0)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.connect((host, port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        received = 0
        while received < size:
            received += len(client.recv(min(4096, size - received)))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("cut_at", [1, 1000, MIB // 2, 3 * MIB // 4])
async def test_a_retrieve_cut_in_the_middle_leaves_the_image(
    at: Callable[[str], str], http: aiohttp.ClientSession, cut_at: int
) -> None:
    image = pictures.of_bytes(MIB, "JPEG")
    image_id = await upload(http, at, image)
    path = f"/api/temp-image-retrieve?imageId={image_id}"
    await asyncio.to_thread(_cut_after, at("temp-image"), path, cut_at)
    for _ in range(100):  # the break is noticed at the next write, and a moment passes until then
        status, body = await retrieve(http, at, image_id)
        if status == 200:
            break
        await asyncio.sleep(0.1)
    assert (status, body) == (200, image)
