from __future__ import annotations

import asyncio
import hashlib
import io
import re

from PIL import Image

from tests.support import pictures
from tests.unit.services.media_store.store import Store, bearer, form, open_store, settings_of

KEY = re.compile(r"pet-images/s1_original_\d{14}_[0-9a-f]{8}\.jpg")


async def test_an_image_can_be_fetched_at_once_by_anybody(store: Store) -> None:
    image = pictures.jpeg(64, 48)
    body = await store.store(image, session_id="s1", purpose="original", effect="")
    assert body["success"] is True
    assert KEY.fullmatch(body["key"])
    assert body["url"] == f"{store.settings.public_url}/media/{body['key']}"
    assert (body["width"], body["height"], body["content_type"]) == (64, 48, "image/jpeg")
    answer = await store.call("GET", body["url"])
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.body).hexdigest()}"'
    assert len(answer.body) == body["size"]
    assert Image.open(io.BytesIO(answer.body)).tobytes() == Image.open(io.BytesIO(image)).tobytes()


async def test_only_the_image_is_required(local: Store) -> None:
    body = await local.store(pictures.png())
    assert re.fullmatch(r"pet-images/[0-9a-f]{32}_original_\d{14}_[0-9a-f]{8}\.png", body["key"])
    assert body["key"].startswith(f"pet-images/{body['session_id']}_")


async def test_what_is_unsafe_in_a_key_becomes_an_underscore(local: Store) -> None:
    body = await local.store(pictures.png(), session_id="../é/a b", purpose="processed_Pop Art!")
    assert body["key"].startswith("pet-images/_____a_b_processed_Pop_Art__")
    assert body["session_id"] == "../é/a b"
    assert (await local.call("GET", body["url"])).status == 200


async def test_the_longest_names_fit(local: Store) -> None:
    body = await local.store(pictures.png(), session_id="s" * 128, purpose="processed_" + "x" * 70)
    assert (await local.call("GET", body["url"])).status == 200


async def test_a_line_break_is_one_character_in_the_limit_and_in_the_key(local: Store) -> None:
    session_id, purpose = "\r\n" * 128, "processed_" + "\r\n" * 70
    body = await local.store(pictures.png(), session_id=session_id, purpose=purpose)
    assert body["key"].startswith(f"pet-images/{'_' * 128}_processed_{'_' * 70}_2")
    assert body["session_id"] == session_id
    assert (await local.call("GET", body["url"])).status == 200


async def test_a_wrong_extension_is_corrected(local: Store) -> None:
    data = form(pictures.webp(), "cat.png", "image/png")
    assert (await local.call("POST", "/store-image/", data=data)).json["key"].endswith(".webp")


async def test_metadata_goes_and_pixels_orientation_and_colours_stay(store: Store) -> None:
    for image_format in ("JPEG", "PNG", "WEBP"):
        image = pictures.with_metadata(image_format, orientation=6)
        body = await store.store(image)
        kept = (await store.call("GET", body["url"])).body
        assert pictures.SECRET.encode() not in kept
        with Image.open(io.BytesIO(kept)) as after, Image.open(io.BytesIO(image)) as before:
            assert after.tobytes() == before.tobytes()
            assert dict(after.getexif()) == {0x0112: 6}
            assert after.info["icc_profile"] == before.info["icc_profile"]
            assert (body["width"], body["height"]) == (after.height, after.width)
        assert body["size"] == len(kept)


async def test_metadata_stays_where_the_setting_says_so(tmp_path) -> None:
    async with open_store(settings_of(tmp_path, strip_metadata=False)) as store:
        image = pictures.with_metadata("JPEG")
        body = await store.store(image)
        answer = await store.call("GET", body["url"])
        assert answer.body == image
        assert answer.headers["ETag"] == f'"{hashlib.sha256(image).hexdigest()}"'
        assert store.spooled() == []


async def test_a_token_is_asked_for_where_the_setting_says_so(tmp_path) -> None:
    async with open_store(settings_of(tmp_path, store_image_require_auth=True)) as store:
        refused = await store.call("POST", "/store-image", data=form(pictures.png()))
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        kept = await store.call("POST", "/store-image", data=form(pictures.png()), headers=bearer())
        assert kept.status == 200


async def test_the_same_image_twice_at_once_is_two_images(store: Store) -> None:
    image = pictures.jpeg()
    bodies = await asyncio.gather(*(store.store(image, session_id="same") for _ in range(8)))
    assert len({body["key"] for body in bodies}) == 8
    assert len(await store.rows()) == 8


async def test_an_image_can_be_deleted_by_an_admin_alone(store: Store) -> None:
    body = await store.store(pictures.jpeg())
    await store.call("GET", body["url"] + "?w=160")
    assert (await store.call("DELETE", body["url"])).status == 401
    assert (await store.call("DELETE", body["url"], headers=bearer())).status == 403
    assert (await store.call("DELETE", body["url"], headers=bearer(admin=True))).status == 200
    assert (await store.call("DELETE", body["url"], headers=bearer(admin=True))).status == 404
    assert (await store.call("GET", body["url"])).status == 404
    assert await store.everything() == ([], [], [])
