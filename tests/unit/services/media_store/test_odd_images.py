from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.support import pictures
from tests.support.odd_pictures import ODD, palette_image_without_palette
from tests.unit.services.media_store.store import Store, form


@pytest.mark.parametrize("name", list(ODD))
async def test_an_odd_image_is_stored_served_and_shown_smaller(local: Store, name: str) -> None:
    answer = await local.store(ODD[name])
    assert answer.get("rewritten") == (True if "between its scans" in name else None)
    got = await local.call("GET", answer["url"])
    assert got.status == 200
    assert pictures.SECRET.encode() not in got.body
    for accept, image_format in (("image/webp", "WEBP"), ("image/jpeg", "JPEG")):
        small = await local.call("GET", answer["url"] + "?w=160", headers={"Accept": accept})
        assert small.status == 200, small.body
        with Image.open(io.BytesIO(small.body)) as picture:
            assert picture.format == image_format
            assert picture.width == min(160, answer["width"])
            assert picture.height == max(1, round(picture.width * answer["height"] / answer["width"]))


async def test_what_was_rewritten_is_said_wherever_the_image_is_shown(store: Store) -> None:
    data = ODD["jpeg with metadata between its scans"]
    image = await store.upload(data)
    assert image["rewritten"] is True
    assert (await store.listed())["images"] == [image]
    signed = await store.send_temporary(data)
    promoted = [(await store.promote(signed["s3_key"])).json for _ in range(2)]
    assert promoted[0] == promoted[1]
    assert promoted[0]["rewritten"] is True
    assert "rewritten" not in await store.store(pictures.jpeg())


async def test_what_nobody_can_show_is_refused_and_leaves_nothing(local: Store) -> None:
    before = await local.everything()
    for data in (palette_image_without_palette(), pictures.truncated(ODD["jpeg without an end mark"], 0.9)):
        answer = await local.call("POST", "/store-image", data=form(data))
        assert (answer.status, answer.json["code"]) == (422, "image_damaged")
    assert await local.everything() == before
