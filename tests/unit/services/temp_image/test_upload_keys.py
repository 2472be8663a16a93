"""An upload that is sent again with its Idempotency-Key is the same upload, from whatever address."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from services.temp_image.adapters.disk.sweep import Sweeper
from services.temp_image.adapters.disk.upload_keys import KEY_SUFFIX
from services.temp_image.app import build_app
from services.temp_image.settings import TempImageSettings
from tests.support import pictures
from tests.support.serving import ServeApp

KEY = "a-key-of-the-shop-0123456789"
PHOTO, OTHER = pictures.jpeg(), pictures.png()
UPLOAD, RETRIEVE = "/api/temp-image-upload", "/api/temp-image-retrieve"


@dataclass
class Clock:
    """Time that a test lets pass."""

    now: float = field(default_factory=lambda: 1_800_000_000.0)

    def __call__(self) -> float:
        return self.now


@dataclass
class Service:
    """The service as two processes on one store."""

    http: aiohttp.ClientSession
    urls: tuple[str, str]

    async def upload(self, image: bytes = PHOTO, key: str = KEY, *, process: int = 0) -> tuple[int, dict[str, str]]:
        form = aiohttp.FormData()
        form.add_field("image", io.BytesIO(image), filename="a.jpg", content_type="image/jpeg")
        headers = {"Idempotency-Key": key} if key else {}
        async with self.http.post(self.urls[process] + UPLOAD, data=form, headers=headers) as answer:
            return answer.status, await answer.json()

    async def retrieve(self, image_id: str) -> int:
        async with self.http.get(self.urls[1] + RETRIEVE, params={"imageId": image_id}) as answer:
            await answer.read()
            return answer.status


def settings(folder: Path, redis_url: str = "") -> TempImageSettings:
    secret = "secret-of-the-tests-0123456789-abcdef"
    return TempImageSettings(
        _env_file=None, data_dir=folder, redis_url=redis_url, jwt_secret_key=secret, internal_secret=secret[::-1]
    )


@pytest.fixture(params=["disk", "redis"])
async def service(request: pytest.FixtureRequest, tmp_path: Path, serve_app: ServeApp) -> AsyncIterator[Service]:
    redis_url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    urls = [await serve_app(build_app(settings(tmp_path, redis_url))) for _ in range(2)]
    async with aiohttp.ClientSession() as http:
        yield Service(http, (urls[0], urls[1]))


async def test_the_same_again_gives_the_first_answer(service: Service) -> None:
    first = await service.upload()
    assert first[0] == 200
    assert await service.upload(process=1) == first
    assert await service.retrieve(first[1]["imageId"]) == 200
    assert await service.upload() == first
    assert await service.retrieve(first[1]["imageId"]) == 404


async def test_other_bytes_are_refused(service: Service) -> None:
    first = await service.upload()
    for process in (0, 1):
        status, problem = await service.upload(OTHER, process=process)
        assert (status, problem["code"]) == (422, "idempotency_key_reused")
    assert await service.retrieve(first[1]["imageId"]) == 200


async def test_while_the_first_still_runs_the_second_is_put_off(service: Service) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        arrived.set()
        await go_on.wait()
        yield PHOTO + b"\r\n--b--\r\n"

    async def first() -> int:
        headers = {"Idempotency-Key": KEY, "Content-Type": "multipart/form-data; boundary=b"}
        data = aiohttp.AsyncIterablePayload(slowly())
        # The body begins when the service asks for it, and by then it holds the key.
        async with service.http.post(service.urls[0] + UPLOAD, data=data, headers=headers, expect100=True) as answer:
            return answer.status

    running = asyncio.create_task(first())
    await arrived.wait()
    status, problem = await service.upload(process=1)
    assert (status, problem["code"]) == (409, "idempotency_in_progress")
    go_on.set()
    assert await running == 200
    assert (await service.upload(process=1))[0] == 200


@pytest.mark.parametrize("key", ["short-key-01234", ""])
async def test_a_key_that_can_be_guessed_is_ignored(service: Service, key: str) -> None:
    ids = {(await service.upload(key=key))[1]["imageId"] for _ in range(2)}
    assert len(ids) == 2


async def test_a_refusal_leaves_the_key_free(service: Service) -> None:
    assert (await service.upload(b"no image"))[0] == 415
    assert (await service.upload())[0] == 200


async def test_a_malformed_key_is_refused(service: Service) -> None:
    assert (await service.upload(key="k" * 256))[0] == 422


async def test_of_many_at_once_one_image_is_kept(service: Service) -> None:
    answers = await asyncio.gather(*(service.upload(process=number % 2) for number in range(8)))
    assert {status for status, _ in answers} <= {200, 409}
    assert len({body["imageId"] for status, body in answers if status == 200}) == 1


async def test_after_the_images_hour_the_key_is_free_and_nothing_is_left(tmp_path: Path, serve_app: ServeApp) -> None:
    clock = Clock()
    url = await serve_app(build_app(settings(tmp_path), clock))
    async with aiohttp.ClientSession() as http:
        service = Service(http, (url, url))
        first = await service.upload()
        clock.now += 3601
        second = await service.upload(OTHER)
        assert second[0] == 200
        assert second[1]["imageId"] != first[1]["imageId"]
        clock.now += 3601
        sweeper = Sweeper(tmp_path / "temp-images", clock)
        sweeper.sweep()
        assert not [path for path in (tmp_path / "temp-images").rglob("*") if path.suffix == KEY_SUFFIX]
