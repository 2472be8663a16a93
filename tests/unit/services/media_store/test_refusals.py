from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support import pictures
from tests.unit.services.media_store.store import Store, bearer, form, open_store, settings_of

MIB = 2**20
REFUSED = {
    "no bytes": (b"", 400),
    "a page": (pictures.html(), 415),
    "a vector drawing": (pictures.svg(), 415),
    "a phone's photo": (pictures.heic(), 415),
    "half a jpeg": (pictures.truncated(pictures.jpeg(400, 300)), 422),
    "half a png": (pictures.truncated(pictures.png(400, 300)), 422),
    "half a webp": (pictures.truncated(pictures.webp(400, 300)), 422),
    "half a gif": (pictures.truncated(pictures.gif(400, 300)), 422),
    "a header without pixels": (pictures.png_claiming(64, 64), 422),
    "a side of 0": (pictures.png_claiming(0, 64), 422),
    "too many pixels": (pictures.png_claiming(64_001, 1000), 413),
    "too many frames": (pictures.gif_of_frames(101), 413),
    "too many pixels over all frames": (pictures.gif_of_frames(100, 801), 413),
    "too many bytes": (bytes(10 * MIB + 1), 413),
}


async def test_nothing_that_was_refused_leaves_anything(store: Store) -> None:
    await store.upload(pictures.jpeg())
    before = await store.everything()
    for name, (image, status) in REFUSED.items():
        answer = await store.call("POST", "/store-image", data=form(image))
        assert answer.status == status, (name, answer.body)
        data = form(image, username="ann", image_type="cover", is_primary="true")
        answer = await store.call("POST", "/api/upload_user_image/", data=data, headers=bearer())
        assert answer.status == status, (name, answer.body)
        assert await store.everything() == before, name


async def test_refusals_say_what_can_be_done(local: Store) -> None:
    for image, said in (
        (pictures.heic(), "HEIC"),
        (bytes(10 * MIB + 1), "10 MiB"),
        (pictures.png_claiming(64_001, 1000), "64 megapixels"),
    ):
        assert said in (await local.call("POST", "/store-image", data=form(image))).json["error"]
    answer = await local.call("POST", "/store-image", data=form(pictures.png(), content_type="text/html"))
    assert answer.status == 415
    for undeclared in ("application/octet-stream", ""):
        assert (
            await local.call("POST", "/store-image", data=form(pictures.png(), content_type=undeclared))
        ).status == 200


async def test_a_form_that_lacks_or_misuses_something_is_refused(local: Store) -> None:
    image = pictures.png()
    for fields, status in (
        ({"purpose": "thumbnail"}, 400),
        ({"purpose": "processed_"}, 400),
        ({"purpose": ""}, 400),
        ({"purpose": "processed_" + "x" * 71}, 400),
        ({"purpose": "Original"}, 400),
        ({"session_id": "s" * 129}, 422),
    ):
        assert (await local.call("POST", "/store-image", data=form(image, **fields))).status == status, fields
    for data in (form(None, purpose="original"), b"{}", None):
        answer = await local.call("POST", "/store-image", data=data)
        assert (answer.status, answer.json["error"]) == (400, "No image provided")
    assert await local.everything() == ([], [], [])


async def _begin(store: Store, path: str, head: bytes, *, declared: int) -> asyncio.StreamWriter:
    """Send the beginning of a form."""
    port = int(store.url.rsplit(":", 1)[1])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    headers = f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {declared}\r\n"
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode() + head)
    await writer.drain()
    return writer


async def _cleared(store: Store) -> None:
    for _ in range(200):
        if not store.spooled():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(store.spooled())


async def test_a_browser_that_goes_away_leaves_nothing(store: Store) -> None:
    signed = (await store.sign()).json if store.settings.storage_backend == "local" else None
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    fields = "".join(part.format(name, value) for name, value in (signed["fields"] if signed else {}).items())
    for path, name, before in (("/store-image", "image", ""), *((("/media/", "file", fields),) if signed else ())):
        head = f'{before}--b\r\nContent-Disposition: form-data; name="{name}"; filename="x.jpg"\r\n\r\n'.encode()
        writer = await _begin(store, path, head + pictures.jpeg() + bytes(MIB), declared=5 * MIB)
        for _ in range(200):
            if store.spooled():
                break
            await asyncio.sleep(0.02)
        assert store.spooled()
        writer.transport.abort()
        await _cleared(store)
    assert await store.everything() == ([], [], [])


async def test_a_store_that_cannot_be_written_to_is_a_503_and_leaves_no_row(tmp_path: Path) -> None:
    async with open_store(settings_of(tmp_path)) as store:
        (tmp_path / "objects").rename(tmp_path / "away")
        (tmp_path / "objects").touch()
        answer = await store.call("POST", "/store-image", data=form(pictures.jpeg()))
        assert (answer.status, answer.json["code"]) == (503, "storage_unavailable")
        assert answer.headers["Retry-After"]
        assert (await store.call("GET", "/ready")).status == 503
        (tmp_path / "objects").unlink()
        (tmp_path / "away").rename(tmp_path / "objects")
        assert await store.everything() == ([], [], [])
        await store.store(pictures.jpeg())


async def test_a_database_that_refuses_leaves_no_object(store: Store) -> None:
    await store.execute(sa.text("ALTER TABLE media_images RENAME TO away"))
    for path, fields, headers in (
        ("/store-image", {}, {}),
        ("/api/upload_user_image/", {"username": "ann", "image_type": "cover"}, bearer()),
    ):
        answer = await store.call("POST", path, data=form(pictures.jpeg(), **fields), headers=headers)
        assert (answer.status, answer.json["code"]) == (503, "database_unavailable")
    signed = await store.send_temporary(pictures.jpeg())
    assert (await store.promote(signed["s3_key"])).status == 503
    assert await store.object_keys() == [signed["s3_key"]]
    await store.execute(sa.text("ALTER TABLE away RENAME TO media_images"))
    assert await store.rows() == []
    assert store.spooled() == []


@pytest.mark.parametrize("cancelled_after_s", [0.0, 0.002, 0.01, 0.03, 0.1, 0.2])
async def test_a_call_that_is_cancelled_leaves_both_or_neither(tmp_path: Path, cancelled_after_s: float) -> None:
    async with open_store(settings_of(tmp_path)) as store:
        await store.store(pictures.jpeg())  # the workers are up
        spooled = store.objects.spool / "spool-test"
        spooled.write_bytes(pictures.with_metadata("JPEG"))
        upload = asyncio.create_task(store.keep(spooled))
        await asyncio.sleep(cancelled_after_s)
        upload.cancel()
        with suppress(asyncio.CancelledError):
            await upload
        spooled.unlink(missing_ok=True)
        objects, rows, left = await store.everything()
        assert len(objects) == len(rows)
        assert left == []
