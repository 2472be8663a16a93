from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from services.planter_orders.settings import PlanterOrdersSettings
from shared.objects import ObjectStore
from tests.support import pictures
from tests.unit.services.planter_orders.api import Api, File, written_down

PHOTO: File = ("rex.jpg", pictures.jpeg(900, 850), "image/jpeg")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
FILENAME = re.compile(r"\d{8}_\d{6}_[0-9a-f]{6}\.(jpg|png|webp)")
NAMES = {
    "filename",
    "original_filename",
    "content_type",
    "size",
    "width",
    "height",
    "url",
    "thumbnail_url",
    "quality",
    "links",
    "replaces",
    "request",
    "placeholder",
}


async def keys(objects: ObjectStore) -> list[str]:
    return [facts.key async for facts in objects.list("uploads/")]


async def nothing_is_left(api: Api, objects: ObjectStore) -> bool:
    listing = await api.call("GET", "/api/images/orders")
    return listing.body["orders"] == [] and await keys(objects) == []


async def test_an_order_is_answered_as_the_source_does(api: Api, settings: PlanterOrdersSettings) -> None:
    fields = {"pet_name": "Rex", "pet_type": "dog", "notes": "Loves to play fetch", "more": "ignored"}
    answer = await api.upload(PHOTO, ("a.png", pictures.png(), "image/png"), fields=fields)
    assert answer.status == 200, answer
    body = answer.body
    assert body["success"] is True
    assert body["message"] == "Images uploaded successfully"
    assert body["files_uploaded"] == 2
    assert re.fullmatch(r"[0-9a-f]{32}", body["order_id"])
    metadata = body["order_metadata"]
    assert set(metadata) == {
        "order_id", "user_id", "pet_name", "pet_type", "notes", "files", "upload_timestamp", "status",
    }  # fmt: skip
    assert metadata["order_id"] == body["order_id"]
    assert (metadata["user_id"], metadata["status"]) == ("ann", "pending")
    assert {name: metadata[name] for name in ("pet_name", "pet_type", "notes")} == {
        name: fields[name] for name in ("pet_name", "pet_type", "notes")
    }
    assert TIME.fullmatch(metadata["upload_timestamp"])
    first = metadata["files"][0]
    assert set(first) == NAMES
    assert FILENAME.fullmatch(first["filename"])
    assert (first["original_filename"], first["content_type"]) == ("rex.jpg", "image/jpeg")
    assert (first["size"], first["width"], first["height"]) == (len(PHOTO[1]), 900, 850)
    assert first["url"] == f"{settings.public_url}/api/images/orders/{body['order_id']}/files/{first['filename']}"
    assert first["thumbnail_url"] == first["url"] + "?size=thumb"
    assert first["quality"] is None


async def test_only_the_photos_are_required(local: Api) -> None:
    metadata = (await local.upload(PHOTO)).body["order_metadata"]
    assert (metadata["pet_name"], metadata["pet_type"], metadata["notes"]) == (None, None, None)


async def test_an_order_lies_where_the_contract_says(api: Api, objects: ObjectStore) -> None:
    answer = await api.as_user("aw/ful ü").upload(PHOTO, ("b.webp", pictures.webp(), None))
    order_id, files = answer.body["order_id"], answer.body["order_metadata"]["files"]
    folder = f"uploads/pet_images/aw~2Fful~20~C3~BC/{order_id}/"
    found = {key async for key in _below(objects, folder)}
    assert found == {folder + "order_metadata.json", *(folder + file["filename"] for file in files)}
    async with objects.open(folder + files[0]["filename"]) as kept:
        assert await kept.read() == PHOTO[1]
    order = await api.as_user("aw/ful ü").looked_at(order_id)
    await described(objects, folder + "order_metadata.json", order)


async def _below(objects: ObjectStore, folder: str) -> Any:
    async for facts in objects.list(folder):
        yield facts.key


async def described(objects: ObjectStore, key: str, order: Any) -> None:
    """Wait until the order's description says what the API says."""
    async with asyncio.timeout(10):
        while True:
            async with objects.open(key) as kept:
                if json.loads(await kept.read()) == written_down(order):
                    return
            await asyncio.sleep(0.02)


async def test_a_long_user_id_is_a_digest_in_keys(api: Api, objects: ObjectStore) -> None:
    answer = await api.as_user("ü" * 70).upload(PHOTO)
    assert answer.status == 200
    assert all(re.match(r"uploads/pet_\w+/sha256-[0-9a-f]{64}/", key) for key in await keys(objects))


REFUSED: list[tuple[str, list[File], int, str]] = [
    ("none", [], 400, "no_file"),
    ("a fifth", [PHOTO] * 5, 400, "too_many_files"),
    ("a fifth", [PHOTO] * 5, 400, "too_many_files"),
    ("empty", [PHOTO, ("e.jpg", b"", "image/jpeg")], 400, "image_empty"),
    ("no image", [PHOTO, ("e.jpg", b"hello, I am text", "image/jpeg")], 415, "unsupported_image"),
    ("a gif", [PHOTO, ("e.gif", pictures.gif(), "image/gif")], 415, "unsupported_image"),
    ("declared html", [PHOTO, ("e.jpg", PHOTO[1], "text/html")], 415, "unsupported_image"),
    ("heic", [PHOTO, ("e.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/heic")], 415, "heic_not_supported"),
    ("truncated", [PHOTO, ("e.jpg", PHOTO[1][: len(PHOTO[1]) // 2], "image/jpeg")], 422, "image_damaged"),
    ("too large", [PHOTO, ("e.jpg", PHOTO[1] + bytes(10 * 2**20), "image/jpeg")], 413, "file_too_large"),
]


@pytest.mark.parametrize(("files", "status", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_one_bad_file_refuses_the_order_and_nothing_is_kept(
    api: Api, objects: ObjectStore, files: list[File], status: int, code: str
) -> None:
    answer = await api.upload(*files, fields={"pet_name": "Rex"})
    assert (answer.status, answer.body["code"]) == (status, code), answer
    if len(files) == 2:
        assert answer.body["error"].startswith(f"{files[1][0]}: ")
    assert await nothing_is_left(api, objects)
    assert list(objects.spool.iterdir()) == []


@pytest.mark.parametrize(("field", "most"), [("pet_name", 100), ("pet_type", 50), ("notes", 2000)])
async def test_text_may_be_as_long_as_the_contract_says(local: Api, field: str, most: int) -> None:
    longest = "ü\r\n" * (most // 2)
    answer = await local.upload(PHOTO, fields={field: longest})
    assert answer.body["order_metadata"][field] == longest
    answer = await local.upload(PHOTO, fields={field: longest + "x"})
    assert (answer.status, answer.body["errors"][0]["field"]) == (422, field)
    assert longest not in json.dumps(answer.body, ensure_ascii=False)


@pytest.mark.parametrize(
    "text", ["<script>alert('x')</script>", "=1+1", "a\r\nb\tc", "'; DROP TABLE x; --", "🐕 \u202e", " "]
)
async def test_text_is_kept_as_typed(api: Api, text: str) -> None:
    answer = await api.upload(PHOTO, fields={"notes": text, "pet_name": text})
    order = await api.order(answer.body["order_id"])
    assert order["notes"] == text
    assert FILENAME.fullmatch(order["files"][0]["filename"])


async def test_a_nul_is_refused(api: Api, objects: ObjectStore) -> None:
    answer = await api.upload(PHOTO, fields={"notes": "a\0b"})
    assert answer.status == 422
    assert await nothing_is_left(api, objects)


async def test_a_wrong_extension_is_corrected(local: Api) -> None:
    answer = await local.upload(("photo.gif", pictures.png(), "image/jpeg"))
    file = answer.body["order_metadata"]["files"][0]
    assert file["filename"].endswith(".png")
    assert (file["content_type"], file["original_filename"]) == ("image/png", "photo.gif")


async def test_width_and_height_are_as_displayed(local: Api) -> None:
    turned = pictures.gradient(60, 40)
    exif = turned.getexif()
    exif[0x0112] = 6
    answer = await local.upload(("a.jpg", pictures.saved(turned, "JPEG", exif=exif), "image/jpeg"))
    file = answer.body["order_metadata"]["files"][0]
    assert (file["width"], file["height"]) == (40, 60)


class TestIdempotency:
    async def test_the_same_key_and_content_give_the_first_answer_again(self, api: Api, objects: ObjectStore) -> None:
        first = await api.upload(PHOTO, fields={"notes": "x"}, key="one")
        again = await api.upload(PHOTO, fields={"notes": "x"}, key="one")
        assert again.status == 200
        assert again.body == first.body
        assert (await api.call("GET", "/api/images/orders")).body["count"] == 1

    async def test_other_content_is_refused(self, api: Api) -> None:
        await api.upload(PHOTO, key="one")
        answer = await api.upload(PHOTO, fields={"notes": "y"}, key="one")
        assert (answer.status, answer.body["code"]) == (422, "idempotency_key_reused")

    async def test_other_people_have_other_keys(self, api: Api) -> None:
        first = await api.upload(PHOTO, key="one")
        other = await api.as_user("ben").upload(PHOTO, key="one")
        assert other.status == 200
        assert other.body["order_id"] != first.body["order_id"]

    async def test_of_many_at_once_one_makes_the_order(self, api: Api) -> None:
        answers = await asyncio.gather(*(api.upload(PHOTO, key="one") for _ in range(8)))
        assert {answer.status for answer in answers} <= {200, 409}
        assert len({answer.body["order_id"] for answer in answers if answer.status == 200}) == 1
        assert (await api.call("GET", "/api/images/orders")).body["count"] == 1

    async def test_a_refusal_is_given_again_too(self, local: Api) -> None:
        first = await local.upload(("a.jpg", b"no image", "image/jpeg"), key="one")
        again = await local.upload(("a.jpg", b"no image", "image/jpeg"), key="one")
        assert (first.status, again.status) == (415, 415)


async def test_fifty_orders_at_once_are_fifty_orders(api: Api, objects: ObjectStore) -> None:
    answers = await asyncio.gather(*(api.upload(("a.jpg", pictures.jpeg(), "image/jpeg")) for _ in range(50)))
    assert [answer.status for answer in answers] == [200] * 50
    listing = (await api.call("GET", "/api/images/orders")).body
    assert listing["count"] == 50
    assert {order["order_id"] for order in listing["orders"]} == {answer.body["order_id"] for answer in answers}
