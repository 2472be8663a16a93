from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import pictures
from tests.support.s3 import REGION
from tests.support.stack import running_stack
from tests.unit.services.media_store.store import bearer, form, open_store, settings_of

pytestmark = pytest.mark.long

MIB = 2**20
FIVE_MIB = pictures.saved(pictures.noise(1330, 1330), "PNG")
ADMIN = bearer("root", admin=True)


async def test_with_the_bucket_down_each_call_is_a_clear_503_and_leaves_nothing(tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    silent = await asyncio.start_server(hang, "127.0.0.1", 0)
    for port in (1, silent.sockets[0].getsockname()[1]):
        bucket = {"s3_bucket": "b", "aws_access_key_id": "a", "aws_secret_access_key": "s", "storage_backend": "s3"}
        settings = settings_of(tmp_path, s3_endpoint_url=f"http://127.0.0.1:{port}", **bucket)
        async with open_store(settings) as store:
            user = {"username": "ann", "image_type": "cover"}
            for method, path, data in (
                ("POST", "/store-image", form(pictures.jpeg())),
                ("POST", "/api/upload_user_image/", form(pictures.jpeg(), **user)),
                ("GET", "/media/temp/o/x.jpg", None),
            ):
                answer = await store.call(method, path, data=data, headers=bearer())
                assert (answer.status, answer.json["code"]) == (503, "storage_unavailable")
                assert int(answer.headers["Retry-After"]) >= 1
            assert (await store.call("GET", "/ready")).status == 503
            assert (await store.call("GET", "/health")).status == 200
            assert (await store.call("GET", "/api/user_images/ann/")).status == 200
            status = await store.call("GET", "/api/debug/r2-status/", headers=ADMIN)
            assert (status.status, status.json["reachable"]) == (200, False)
            assert await store.rows() == []
            assert store.spooled() == []
    silent.close()


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.parametrize("backend", ["local", "s3"])
async def test_large_uploads_and_downloads_hold_no_more_than_bounded_buffers(
    request: pytest.FixtureRequest, tmp_path: Path, backend: str
) -> None:
    settings: dict[str, str] = {}
    if backend == "s3":
        s3 = request.getfixturevalue("s3")
        settings = {
            "STORAGE_BACKEND": "s3",
            "S3_BUCKET": s3.bucket,
            "S3_ENDPOINT_URL": s3.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        }
    together = 24
    with running_stack(tmp_path, settings, "media-store") as stack:
        url, pid = stack.url("media-store"), stack.pid("media-store")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

            async def upload() -> str:
                data = aiohttp.FormData()
                data.add_field("image", io.BytesIO(FIVE_MIB), filename="a.png", content_type="image/png")
                async with http.post(f"{url}/store-image", data=data) as answer:
                    body: dict[str, Any] = await answer.json()
                    assert answer.status == 200, body
                    return f"{url}/media/{body['key']}"

            async def download(address: str) -> int:
                async with http.get(address) as answer:
                    await asyncio.sleep(0.5)  # all are under way at once
                    return sum([len(chunk) async for chunk in answer.content.iter_chunked(MIB)])

            first = await upload()
            assert await download(first) > 5 * MIB
            before = _peak_mib(pid)
            addresses = await asyncio.gather(*(upload() for _ in range(together)))
            sizes = await asyncio.gather(*(download(address) for address in addresses))
            assert set(sizes) == {await download(first)}
            # 24 x 5 MiB would be 120; four images are read through a map of the file at once.
            assert _peak_mib(pid) - before < 64


async def test_a_killed_service_leaves_nothing_half_done(tmp_path: Path) -> None:
    with running_stack(tmp_path, None, "media-store") as stack:
        url = stack.url("media-store")

        async def upload(http: aiohttp.ClientSession) -> str | None:
            data = aiohttp.FormData()
            data.add_field("image", io.BytesIO(pictures.jpeg()), filename="a.jpg", content_type="image/jpeg")
            try:
                async with http.post(f"{url}/store-image", data=data) as answer:
                    return str((await answer.json())["key"]) if answer.status == 200 else None
            except aiohttp.ClientError:
                return None

        async with aiohttp.ClientSession() as http:
            assert await upload(http)
            uploads = [asyncio.create_task(upload(http)) for _ in range(40)]
            await asyncio.sleep(0.15)
            stack.kill("media-store")
            answered = [key for key in await asyncio.gather(*uploads) if key]
        stack.start("media-store")
        async with aiohttp.ClientSession() as http:
            for key in answered:
                async with http.get(f"{url}/media/{key}") as answer:
                    assert answer.status == 200
        assert stack.stop("media-store") == 0


async def test_a_stopped_service_finishes_the_upload_in_flight(tmp_path: Path) -> None:
    with running_stack(tmp_path, None, "media-store") as stack:
        port = stack.ports["media-store"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        image = pictures.jpeg()
        head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.jpg"\r\n\r\n'
        body = head + image + b"\r\n--b--\r\n"
        writer.write(
            b"POST /store-image HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        writer.write(body[:500])
        await writer.drain()
        await asyncio.sleep(0.3)
        stopping = asyncio.create_task(asyncio.to_thread(stack.stop, "media-store"))
        await asyncio.sleep(0.3)
        writer.write(body[500:])
        await writer.drain()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert await stopping == 0
