from __future__ import annotations

import base64
import io

import aiohttp
import pytest
from PIL import Image

from services.planter_orders.app import build_app
from services.planter_orders.settings import PlanterOrdersSettings
from shared.objects import ObjectStore
from tests.support import heif_pictures, pictures
from tests.support.odd_pictures import ODD
from tests.support.serving import ServeApp
from tests.unit.services.planter_orders.api import Api, File, token

NO_GIFS = [data for name, data in ODD.items() if "gif" not in name]
PHOTO: File = ("rex.jpg", pictures.jpeg(1600, 1200), "image/jpeg")


def path_of(order_id: str, file: dict[str, str]) -> str:
    return f"/api/images/orders/{order_id}/files/{file['filename']}"


async def test_a_photo_comes_back_byte_for_byte(api: Api) -> None:
    sent = [PHOTO, ("b.png", pictures.png(), "image/png"), ("c.webp", pictures.webp(), "image/webp")]
    body = (await api.upload(*sent)).body
    for (_, data, content_type), file in zip(sent, body["order_metadata"]["files"], strict=True):
        answer = await api.call("GET", path_of(body["order_id"], file))
        assert answer.status == 200
        assert answer.raw == data
        assert answer.headers["Content-Type"] == content_type
        assert answer.headers["Content-Length"] == str(len(data))
        assert answer.headers["Cache-Control"].startswith("private")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Content-Disposition"] == f'inline; filename="{file["filename"]}"'
        again = await api.call(
            "GET", path_of(body["order_id"], file), headers={"If-None-Match": answer.headers["ETag"]}
        )
        assert (again.status, again.raw) == (304, b"")
        head = await api.call("HEAD", path_of(body["order_id"], file))
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(data)))


async def test_a_part_of_a_photo_can_be_asked_for(api: Api) -> None:
    body = (await api.upload(PHOTO)).body
    path = path_of(body["order_id"], body["order_metadata"]["files"][0])
    part = await api.call("GET", path, headers={"Range": "bytes=10-19"})
    assert (part.status, part.raw) == (206, PHOTO[1][10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(PHOTO[1])}"
    outside = await api.call("GET", path, headers={"Range": f"bytes={len(PHOTO[1])}-"})
    assert (outside.status, outside.body["code"]) == (416, "range_not_satisfiable")
    assert outside.headers["Content-Range"] == f"bytes */{len(PHOTO[1])}"


async def test_an_admin_sees_it_and_a_stranger_does_not(api: Api) -> None:
    body = (await api.upload(PHOTO)).body
    path = path_of(body["order_id"], body["order_metadata"]["files"][0])
    assert (await api.as_user("boss", "admin").call("GET", path)).status == 200
    for size in ("", "?size=thumb"):
        assert (await api.as_user("ben").call("GET", path + size)).status == 404


@pytest.mark.parametrize("name", ["order_metadata.json", "x.jpg", "%2e%2e%2fx", "20260101_000000_abcdef.jpg"])
async def test_nothing_else_can_be_fetched(api: Api, name: str) -> None:
    body = (await api.upload(PHOTO)).body
    answer = await api.call("GET", f"/api/images/orders/{body['order_id']}/files/{name}")
    assert answer.status == 404


async def test_a_thumbnail_stands_upright_and_carries_nothing(api: Api, objects: ObjectStore) -> None:
    turned = pictures.photo(1600, 1200)
    exif = turned.getexif()
    exif[0x0112] = 6
    exif[0x010E] = pictures.SECRET
    data = pictures.saved(turned, "JPEG", exif=exif)
    body = (await api.upload(("a.jpg", data, "image/jpeg"))).body
    path = path_of(body["order_id"], body["order_metadata"]["files"][0])
    early = await api.call("GET", path + "?size=thumb")
    assert early.status in {200, 404}
    if early.status == 404:
        assert int(early.headers["Retry-After"]) > 0
    await api.looked_at(body["order_id"])
    answer = await api.call("GET", path + "?size=thumb")
    assert answer.headers["Content-Type"] == "image/webp"
    with Image.open(io.BytesIO(answer.raw)) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("WEBP", (300, 400))
        assert not thumbnail.getexif()
    assert pictures.SECRET.encode() not in answer.raw
    assert (await api.call("GET", path)).raw == data
    assert list(objects.spool.iterdir()) == []


@pytest.mark.parametrize("first", range(0, len(NO_GIFS), 4))
async def test_odd_photos_are_kept_as_they_were_sent_and_have_thumbnails(local: Api, first: int) -> None:
    photos = [(f"{number}.jpg", data, "image/jpeg") for number, data in enumerate(NO_GIFS[first : first + 4])]
    answer = await local.upload(*photos)
    assert answer.status == 200, answer
    order_id = answer.body["order_id"]
    order = await local.looked_at(order_id)
    for photo, (_, data, _) in zip(order["files"], photos, strict=True):
        path = path_of(order_id, photo)
        assert (await local.call("GET", path)).raw == data
        thumbnail = await local.call("GET", path + "?size=thumb")
        assert thumbnail.status == 200
        with Image.open(io.BytesIO(thumbnail.raw)) as picture:
            assert max(picture.size) == min(400, max(photo["width"], photo["height"]))
        assert "unreadable" not in photo["quality"]["warnings"]


async def test_a_phones_photo_is_kept_as_it_was_sent_and_shown_as_it_was_converted(
    embedded: PlanterOrdersSettings, serve_app: ServeApp, http: aiohttp.ClientSession
) -> None:
    sent = [heif_pictures.turned(), pictures.avif(), pictures.jpeg()]
    app = build_app(embedded.model_copy(update={"heic_uploads": "on"}), decoders=1)
    api = Api(http, await serve_app(app), token())
    answer = await api.upload(*((f"IMG_{number}.HEIC", data, "image/heic") for number, data in enumerate(sent)))
    order = await api.looked_at(answer.body["order_id"])
    assert [photo.get("converted_from") for photo in order["files"]] == ["heic", "avif", None]
    assert [photo["content_type"] for photo in order["files"]] == ["image/heic", "image/avif", "image/jpeg"]
    assert [(photo["width"], photo["height"]) for photo in order["files"]] == [(240, 320), (64, 48), (64, 48)]
    for photo, data in zip(order["files"], sent, strict=True):
        path = path_of(order["order_id"], photo)
        assert (await api.call("GET", path)).raw == data
        thumbnail = await api.call("GET", path + "?size=thumb")
        with Image.open(io.BytesIO(thumbnail.raw)) as picture:
            assert picture.size == (photo["width"], photo["height"])
        assert 16 <= len(base64.b64decode(photo["placeholder"], validate=True)) <= 30


@pytest.mark.parametrize("size", ["large", "400", "THUMB"])
async def test_another_size_is_422(local: Api, size: str) -> None:
    body = (await local.upload(PHOTO)).body
    path = path_of(body["order_id"], body["order_metadata"]["files"][0])
    assert (await local.call("GET", path, params={"size": size})).status == 422


class TestQuality:
    async def of(self, api: Api, *photos: bytes) -> list[list[str]]:
        body = (await api.upload(*((f"{n}.jpg", photo, "image/jpeg") for n, photo in enumerate(photos)))).body
        order = await api.looked_at(body["order_id"])
        for file in order["files"]:
            assert file["quality"]["ok"] is (not file["quality"]["warnings"])
        return [file["quality"]["warnings"] for file in order["files"]]

    async def test_good_photos_have_no_warnings(self, api: Api) -> None:
        first, second = (pictures.saved(pictures.photo(seed=seed), "JPEG", quality=92) for seed in (1, 2))
        assert await self.of(api, first, second) == [[], []]

    async def test_small_blurred_and_repeated_photos_are_told(self, local: Api) -> None:
        photo = pictures.photo(seed=3)
        small = pictures.saved(photo.resize((600, 450)), "JPEG", quality=80)
        blurred = pictures.saved(pictures.blurred(pictures.photo(seed=4)), "JPEG", quality=92)
        found = await self.of(local, pictures.saved(photo, "JPEG", quality=92), small, blurred)
        assert found == [["near_duplicate"], ["small", "near_duplicate"], ["blurred"]]
