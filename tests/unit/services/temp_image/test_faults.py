from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from redis import asyncio as aioredis

from services.temp_image.app import build_app
from services.temp_image.settings import TempImageSettings
from tests.support import pictures
from tests.support.file_size import no_file_larger_than
from tests.support.processes import free_port
from tests.support.serving import ServeApp

IMAGE = pictures.jpeg()
LARGE = pictures.of_bytes(3_000_000)

Client = Callable[..., Awaitable[aiohttp.ClientSession]]


@pytest.fixture
async def client(tmp_path: Path, serve_app: ServeApp) -> AsyncIterator[Callable[..., object]]:
    sessions: list[aiohttp.ClientSession] = []

    async def client(redis_url: str = "") -> aiohttp.ClientSession:
        settings = TempImageSettings(
            _env_file=None,
            data_dir=tmp_path,
            redis_url=redis_url,
            jwt_secret_key="for-tests-only-" * 3,
            internal_secret="between-services-" * 3,
        )
        sessions.append(aiohttp.ClientSession(await serve_app(build_app(settings))))
        return sessions[-1]

    yield client
    for session in sessions:
        await session.close()


async def upload(http: aiohttp.ClientSession, image: bytes) -> tuple[int, dict[str, str], str]:
    form = aiohttp.FormData()
    form.add_field("image", BytesIO(image), filename="cat.jpg")
    async with http.post("/api/temp-image-upload", data=form) as answer:
        return answer.status, await answer.json(), answer.headers.get("Retry-After", "")


async def retrieve(http: aiohttp.ClientSession, image_id: str) -> tuple[int, bytes]:
    async with http.get("/api/temp-image-retrieve", params={"imageId": image_id}) as answer:
        return answer.status, await answer.read()


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Accept connections and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    yield f"redis://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("redis", [nobody, silent_server])
async def test_without_redis_each_call_is_told_so_within_three_seconds(
    client: Client, redis: Callable[[], AbstractAsyncContextManager[str]]
) -> None:
    async with redis() as url:
        http = await client(url)
        async with asyncio.timeout(3):
            status, body, retry_after = await upload(http, IMAGE)
        assert (status, body["code"]) == (503, "redis_unavailable")
        assert int(retry_after) > 0
        async with asyncio.timeout(3):
            status, _ = await retrieve(http, "0" * 32)
        assert status == 503
        async with http.get("/ready") as answer:
            assert answer.status == 503
            assert "redis" in (await answer.json())["error"]
        async with http.get("/health") as answer:
            assert answer.status == 200


async def test_a_full_redis_is_storage_full_and_still_gives_back_what_it_has(client: Client, redis_url: str) -> None:
    http = await client(redis_url)
    _, kept, _ = await upload(http, IMAGE)
    async with aioredis.Redis.from_url(redis_url) as redis:
        try:
            await redis.config_set("maxmemory", 1)
            status, body, retry_after = await upload(http, IMAGE)
            assert (status, body["code"]) == (503, "storage_full")
            assert int(retry_after) > 0
            assert await retrieve(http, kept["imageId"]) == (200, IMAGE)
            assert (await retrieve(http, kept["imageId"]))[0] == 404
        finally:
            await redis.config_set("maxmemory", 0)
        assert await redis.keys("*") == []
    assert (await upload(http, IMAGE))[0] == 200


@pytest.mark.parametrize("size", [200_000, 3_000_000])
async def test_a_full_disk_is_storage_full_and_leaves_nothing(client: Client, tmp_path: Path, size: int) -> None:
    http = await client()
    _, kept, _ = await upload(http, IMAGE)
    with no_file_larger_than(100_000):
        status, body, retry_after = await upload(http, pictures.of_bytes(size))
        assert (status, body["code"]) == (503, "storage_full")
        assert int(retry_after) > 0
        assert await retrieve(http, kept["imageId"]) == (200, IMAGE)
        async with http.get("/ready") as answer:
            assert answer.status == 200
    assert [path for path in (tmp_path / "temp-images").glob("*/*") if path.is_file()] == []


async def test_a_disk_that_cannot_be_written_is_told(client: Client, tmp_path: Path) -> None:
    http = await client()
    (tmp_path / "temp-images").rename(tmp_path / "elsewhere")
    for image in (IMAGE, LARGE):
        status, body, _ = await upload(http, image)
        assert (status, body["code"]) == (503, "storage_unavailable")
    async with http.get("/ready") as answer:
        assert answer.status == 503
        assert "storage" in (await answer.json())["error"]
    (tmp_path / "elsewhere").rename(tmp_path / "temp-images")
    assert (await upload(http, IMAGE))[0] == 200


async def test_an_image_expires_over_redis_at_its_hour(client: Client, redis_url: str) -> None:
    http = await client(redis_url)
    before = time.time()
    await upload(http, IMAGE)
    async with aioredis.Redis.from_url(redis_url) as redis:
        (key,) = await redis.keys("*")
        expires_at = await redis.execute_command("PTTL", key) / 1000 + time.time()
        assert await redis.get(key) == IMAGE
    assert before + 3599 < expires_at < time.time() + 3601
