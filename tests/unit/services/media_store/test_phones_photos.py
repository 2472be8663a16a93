from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support import heif_pictures, pictures
from tests.unit.services.media_store.store import Store, form, open_store, settings_of

TURNED = heif_pictures.turned()


@pytest.fixture
async def taking_heic(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(settings_of(tmp_path, heic_uploads="on")) as running:
        yield running


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture


async def test_a_heic_is_stored_as_an_upright_jpeg_by_every_upload(taking_heic: Store) -> None:
    stored = await taking_heic.store(TURNED)
    image = await taking_heic.upload(TURNED)
    signed = await taking_heic.send_temporary(TURNED)
    promoted = (await taking_heic.promote(signed["s3_key"])).json
    for answer in (stored, image, promoted):
        assert answer["converted_from"] == "heic"
        assert (answer["width"], answer["height"]) == (240, 320)
        assert answer["url"].endswith(".jpg")
        got = await taking_heic.call("GET", answer["url"])
        picture = opened(got.body)
        assert (got.headers["Content-Type"], picture.format, picture.size) == ("image/jpeg", "JPEG", (240, 320))
        assert not picture.getexif()
        small = await taking_heic.call("GET", answer["url"] + "?w=160")
        assert opened(small.body).width == 160
    assert (await taking_heic.listed())["images"] == [image]


async def test_a_heic_is_refused_by_name_where_it_is_not_asked_for(local: Store) -> None:
    before = await local.everything()
    answer = await local.call("POST", "/store-image", data=form(TURNED, "IMG_1.HEIC", "image/heic"))
    assert (answer.status, answer.json["code"]) == (415, "heic_not_supported")
    assert "HEIC" in answer.json["error"]
    assert await local.everything() == before


async def test_an_avif_is_taken_with_nothing_set(store: Store) -> None:
    answer = await store.store(pictures.avif())
    assert (answer["converted_from"], answer["content_type"]) == ("avif", "image/jpeg")
    assert opened((await store.call("GET", answer["url"])).body).size == (64, 48)


async def test_a_phones_photo_is_converted_where_metadata_stays_too(tmp_path: Path) -> None:
    async with open_store(settings_of(tmp_path, strip_metadata=False)) as running:
        assert (await running.store(pictures.avif()))["content_type"] == "image/jpeg"
        kept = await running.store(pictures.with_metadata("JPEG"))
        assert (await running.call("GET", kept["url"])).body == pictures.with_metadata("JPEG")


@pytest.mark.parametrize(
    "data",
    [
        pictures.truncated(TURNED, 0.7),
        heif_pictures.boxes(),
        heif_pictures.boxes(items=2).replace(b"hvc1", b"unci"),
        heif_pictures.boxes(size=(9000, 9000)),
    ],
)
async def test_a_hostile_one_is_refused_and_leaves_nothing(taking_heic: Store, data: bytes) -> None:
    before = await taking_heic.everything()
    answer = await taking_heic.call("POST", "/store-image", data=form(data))
    assert answer.status in {413, 415, 422}
    assert await taking_heic.everything() == before


async def test_every_stored_image_has_a_placeholder(store: Store) -> None:
    signed = await store.send_temporary(pictures.jpeg())
    promoted = [(await store.promote(signed["s3_key"])).json for _ in range(2)]
    image = await store.upload(pictures.apng())
    for answer in (await store.store(pictures.png()), image, *promoted, *(await store.listed())["images"]):
        assert 5 <= len(base64.b64decode(answer["placeholder"], validate=True)) <= 30
    assert promoted[0] == promoted[1]
