"""The service as a process of its own: killed, restarted, with several workers on one folder."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest

from tests.support import pictures
from tests.support.processes import free_port, listens
from tests.unit.services.temp_image.stores import eventually, thirty_seconds_pass

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[4]
LARGE = pictures.of_bytes(5_000_000)
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[Start]:
    """Start the service on the test's port and folder, as often as asked."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**settings: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.temp_image"],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "DATA_DIR": str(tmp_path),
                "TEMP_IMAGE_PORT": str(port),
                "JWT_SECRET_KEY": "for-tests-only-" * 3,
                "INTERNAL_SECRET": "between-services-" * 3,
                **settings,
            },
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        while process.poll() is None and not listens(port):
            time.sleep(0.02)
        assert process.poll() is None
        return process

    yield start
    for process in started:
        process.terminate()
        process.wait(20)


@pytest.fixture
async def http(port: int) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as session:
        yield session


async def upload(http: aiohttp.ClientSession, image: bytes) -> str:
    form = aiohttp.FormData()
    form.add_field("image", BytesIO(image), filename="cat.jpg")
    async with http.post("/api/temp-image-upload", data=form) as answer:
        return str((await answer.json())["imageId"])


async def retrieve(http: aiohttp.ClientSession, image_id: str) -> tuple[int, bytes]:
    async with http.get("/api/temp-image-retrieve", params={"imageId": image_id}) as answer:
        return answer.status, await answer.read()


async def test_an_image_outlives_a_kill_in_the_middle_of_its_delivery(
    start: Start, port: int, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    process = start()
    image_id = await upload(http, LARGE)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(f"GET /api/temp-image-retrieve?imageId={image_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert b" 200 " in await reader.readline()
    process.kill()
    process.wait()
    writer.close()
    start()
    assert (await retrieve(http, image_id))[0] == 404
    thirty_seconds_pass(tmp_path, image_id)
    assert await retrieve(http, image_id) == (200, LARGE)
    assert (await retrieve(http, image_id))[0] == 404


async def test_an_upload_that_was_answered_outlives_a_kill(start: Start, http: aiohttp.ClientSession) -> None:
    process = start()
    small = pictures.jpeg()
    images = {await upload(http, image): image for image in (small, LARGE)}
    process.kill()
    process.wait()
    start()
    for image_id, image in images.items():
        assert await retrieve(http, image_id) == (200, image)


async def test_what_a_killed_process_left_half_uploaded_is_cleared_at_the_next_start(
    start: Start, port: int, tmp_path: Path
) -> None:
    process = start()
    spool = tmp_path / "temp-images" / "spool"
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /api/temp-image-upload HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + LARGE[:2_000_000]
    )
    await eventually(lambda: any(spool.iterdir()))
    process.kill()
    process.wait()
    writer.close()
    (left,) = spool.iterdir()
    os.utime(left, (time.time() - 61,) * 2)
    start()
    await eventually(lambda: not any(spool.iterdir()))


async def test_images_are_where_the_setting_says(start: Start, tmp_path: Path, http: aiohttp.ClientSession) -> None:
    start(TEMP_DIR=str(tmp_path / "elsewhere"))
    image_id = await upload(http, LARGE)
    assert (tmp_path / "elsewhere" / image_id[:2] / image_id).exists()
    assert not (tmp_path / "temp-images").exists()
    assert await retrieve(http, image_id) == (200, LARGE)


async def test_several_processes_give_an_image_out_once(start: Start, http: aiohttp.ClientSession) -> None:
    start(TEMP_IMAGE_WORKERS="3")
    for image in (pictures.jpeg(), LARGE):
        image_id = await upload(http, image)
        answers = await asyncio.gather(*(retrieve(http, image_id) for _ in range(50)))
        assert sorted(status for status, _ in answers) == [200] + [404] * 49
        assert (200, image) in answers


async def test_it_stops_in_order_with_a_delivery_on_its_way(
    start: Start, port: int, http: aiohttp.ClientSession
) -> None:
    process = start()
    image_id = await upload(http, LARGE)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /api/temp-image-retrieve?imageId={image_id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    process.send_signal(signal.SIGTERM)
    assert b" 200 " in head
    assert await reader.readexactly(len(LARGE)) == LARGE
    writer.close()
    assert process.wait(20) == 0
    start()
    assert (await retrieve(http, image_id))[0] == 404


def test_a_service_without_tables_loads_no_library_for_them() -> None:
    code = "import sys, services.temp_image.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True)
    assert "sqlalchemy" not in loaded.stdout.split()


@pytest.mark.parametrize("workers", ["1", "3"])
async def test_nothing_of_it_outlives_a_kill(start: Start, port: int, workers: str) -> None:
    process = start(TEMP_IMAGE_WORKERS=workers)
    process.kill()
    process.wait()
    await eventually(lambda: not listens(port))
