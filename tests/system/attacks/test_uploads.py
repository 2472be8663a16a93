"""Whatever is uploaded: an answer that says what is wrong, nothing left behind, and what is kept is served as what it is."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.raw_http import RawAnswer, connect
from tests.support.stack import Stack
from tests.system.attacks.hostile_uploads import BOUNDARY, FAMILIES, JPEG, Upload, broken_off, file, form

PATH = "/api/temp-image-upload"
IMAGE_TYPES = {"image/jpeg", "image/png", "image/gif", "image/webp"}
PATIENCE_S = 10.0
DOORS = ("temp-image", "gateway")


def kept_in(data_dir: Path) -> set[str]:
    """Return every file of temp-image, and any that somebody managed to put elsewhere."""
    return {
        str(path.relative_to(data_dir)) for path in data_dir.rglob("*") if path.is_file() and ".db" not in path.name
    }


async def nothing_new_in(data_dir: Path, before: set[str]) -> bool:
    """Wait until what was being removed is gone: a client may hear of a refusal first."""
    for _ in range(100):
        if kept_in(data_dir) <= before:
            return True
        await asyncio.sleep(0.05)
    return False


def head(upload: Upload, length: int, path: str = PATH) -> bytes:
    typed = (f"Content-Type: {upload.content_type}",) if upload.content_type else ()
    lines = (f"POST {path} HTTP/1.1", "Host: shop", *typed, *upload.headers, f"Content-Length: {length}", "", "")
    return "\r\n".join(lines).encode("latin-1")


async def send(url: str, upload: Upload, path: str = PATH) -> RawAnswer:
    """Send all of it, also where the answer comes before the end, and read the answer."""
    async with connect(url) as client:

        async def write() -> None:
            with suppress(ConnectionError):  # answered, read on for a while, and closed
                await client.send(head(upload, len(upload.body), path) + upload.body)

        writing = asyncio.create_task(write())
        try:
            return await client.answer()
        finally:
            writing.cancel()
            await asyncio.wait([writing])


async def take_back(url: str, image_id: str) -> RawAnswer:
    async with connect(url) as client:
        await client.send(f"GET /api/temp-image-retrieve?imageId={image_id} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
        return await client.answer()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_hostile_upload_is_refused_or_kept_as_what_it_is(
    site: Stack, data_dir: Path, family: str, door: str
) -> None:
    before = kept_in(data_dir)
    failures = []
    for name, upload in FAMILIES[family]().items():
        answer = await send(site.url(door), upload)
        if answer.status not in upload.allowed:
            failures.append((name, answer.status, answer.body[:200]))
            continue
        body = json.loads(answer.body)
        if answer.status != 200:
            assert answer.headers["content-type"] == ["application/problem+json"], name
            assert body["error"].endswith((".", "provided")), name
            assert "alert" not in answer.body.decode(), name
        else:
            back = await take_back(site.url(door), body["imageId"])
            assert back.status == 200, name
            assert back.headers["content-type"][0] in IMAGE_TYPES, name
            assert back.headers["x-content-type-options"] == ["nosniff"], name
            assert back.body in upload.body, name
            assert (await take_back(site.url(door), body["imageId"])).status == 404, name
    assert failures == []
    assert await nothing_new_in(data_dir, before)


@pytest.mark.parametrize("door", DOORS)
async def test_what_breaks_off_leaves_nothing(site: Stack, data_dir: Path, door: str) -> None:
    before = kept_in(data_dir)
    whole = Upload(form(file(JPEG)), {200})
    for beginning in broken_off():
        async with connect(site.url(door)) as client:
            await client.send(head(whole, 3 * 2**20) + beginning)
            await asyncio.sleep(0.02)
    assert await nothing_new_in(data_dir, before)


async def in_flight(url: str) -> int:
    async with connect(url) as client:
        await client.send(b"GET /metrics HTTP/1.1\r\nHost: shop\r\n\r\n")
        lines = (await client.answer()).body.decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("keepsake_http_in_flight ")).split()[1])) - 1


@pytest.mark.parametrize("door", DOORS)
async def test_what_breaks_off_behind_a_good_request_is_noticed_too(site: Stack, data_dir: Path, door: str) -> None:
    """A retrieve lets its client close one half of the connection; the upload behind it must not wait for more then."""
    before = kept_in(data_dir)
    whole = Upload(form(file(JPEG)), {200})
    async with connect(site.url(door)) as client:
        await client.send(head(whole, len(whole.body)) + whole.body)
        image_id = json.loads((await client.answer()).body)["imageId"]
        await client.send(f"GET /api/temp-image-retrieve?imageId={image_id} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
        assert (await client.answer()).status == 200
        await client.send(head(whole, 2**20) + whole.body[:300])
        client.writer.write_eof()
        await client.rest()
        for _ in range(100):
            if not await in_flight(site.url("temp-image")):
                break
            await asyncio.sleep(0.05)
        assert await in_flight(site.url("temp-image")) == 0
    assert await nothing_new_in(data_dir, before)


@pytest.mark.parametrize("door", DOORS)
async def test_a_chunked_upload_without_an_end_is_cut_at_the_limit(site: Stack, data_dir: Path, door: str) -> None:
    before = kept_in(data_dir)
    lines = (
        f"POST {PATH} HTTP/1.1",
        "Host: shop",
        "Transfer-Encoding: chunked",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
    )
    async with connect(site.url(door)) as client:
        start = file(JPEG)[:-2]
        await client.send("\r\n".join((*lines, "", "")).encode() + b"%x\r\n%s\r\n" % (len(start), start))

        async def write() -> None:
            piece = b"10000\r\n" + bytes(65_536) + b"\r\n"
            with suppress(ConnectionError):
                for _ in range(2048):
                    await client.send(piece)

        writing = asyncio.create_task(write())
        answer = await client.answer()
        writing.cancel()
        await asyncio.wait([writing])
    assert answer.status == 413
    assert "5 MiB" in json.loads(answer.body)["error"]
    assert await nothing_new_in(data_dir, before)


@pytest.mark.parametrize("door", DOORS)
async def test_a_hundred_hostile_uploads_at_once_leave_nothing_and_harm_nobody(
    site: Stack, data_dir: Path, door: str
) -> None:
    before = kept_in(data_dir)
    uploads = [
        *FAMILIES["frame bombs"]().values(),
        *FAMILIES["text bombs"]().values(),
        *FAMILIES["truncated"]().values(),
    ]
    good = Upload(form(file(JPEG)), {200})
    answers = await asyncio.gather(*(send(site.url(door), one) for one in [*uploads[:50], *[good] * 10]))
    for upload, answer in zip([*uploads[:50], *[good] * 10], answers, strict=False):
        assert answer.status in upload.allowed
        if answer.status == 200:
            assert (await take_back(site.url(door), json.loads(answer.body)["imageId"])).status == 200
    assert await nothing_new_in(data_dir, before)


def test_there_are_25_families() -> None:
    """Those above, and what breaks off."""
    assert len(FAMILIES) + 1 >= 25
