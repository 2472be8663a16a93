"""docs/contract.md, "planter-orders": photo orders, through the gateway and on the service's own port."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from services.planter_orders.model.photos import user_folder
from shared.auth.signed_links import SignedLinks
from tests.support import pictures
from tests.support.stack import Stack
from tests.unit.services.planter_orders.api import Api, File, token
from tests.unit.services.planter_orders.test_events import listening
from tests.unit.services.planter_orders.test_links import opened
from tests.unit.services.planter_orders.test_photos import replaced

PHOTO: File = ("rex.jpg", pictures.jpeg(900, 850), "image/jpeg")
FIELDS = {"pet_name": "Rex", "pet_type": "dog", "notes": "Loves to play fetch"}
SHOP = "http://localhost:3000"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def secret(stack: Stack) -> str:
    return stack.settings["JWT_SECRET_KEY"]


@pytest.fixture
def api(http: aiohttp.ClientSession, door: Callable[[str], str], stack: Stack, secret: str) -> Api:
    """The service, called by somebody who has no orders yet."""
    bearer = token(f"user-{uuid4().hex}", secret=secret)
    return Api(http, door("planter-orders"), bearer, stack.settings["INTERNAL_SECRET"])


@pytest.fixture
def admin(api: Api, secret: str) -> Api:
    return Api(api.http, api.url, token("boss", roles=["admin"], secret=secret))


@pytest.fixture
def stranger(api: Api, secret: str) -> Api:
    return Api(api.http, api.url, token("stranger", secret=secret))


async def test_the_service_says_what_the_source_says(http: aiohttp.ClientSession, stack: Stack) -> None:
    async with http.get(stack.url("planter-orders") + "/") as answer:
        body = await answer.json()
    assert body["service"] == "Pet Planter Image Upload Service"
    assert body["description"] == "Upload pet images for custom planter generation"


async def test_an_order_from_upload_to_deletion(api: Api, stack: Stack) -> None:
    made = await api.upload(PHOTO, ("b.png", pictures.png(), "image/png"), fields=FIELDS)
    assert made.status == 200, made
    order_id, metadata = made.body["order_id"], made.body["order_metadata"]
    assert made.body | {"order_id": 0, "order_metadata": 0} == {
        "success": True,
        "message": "Images uploaded successfully",
        "order_id": 0,
        "files_uploaded": 2,
        "order_metadata": 0,
    }
    assert re.fullmatch(r"[0-9a-f]{32}", order_id)
    assert metadata["status"] == "pending"
    assert {name: metadata[name] for name in FIELDS} == FIELDS
    listing = await api.call("GET", "/api/images/orders")
    assert (listing.body["success"], listing.body["count"]) == (True, 1)
    assert listing.body["orders"][0]["order_id"] == order_id
    shown = await api.call("GET", f"/api/images/orders/{order_id}")
    assert shown.body["success"] is True
    folder = Path(stack.settings["DATA_DIR"], "objects/uploads/pet_images", user_folder(metadata["user_id"]), order_id)
    names = {file["filename"] for file in metadata["files"]}
    assert {path.name for path in folder.iterdir()} == {"order_metadata.json", *names}
    for file, data in zip(metadata["files"], (PHOTO[1], pictures.png()), strict=True):
        path = f"/api/images/orders/{order_id}/files/{file['filename']}"
        assert file["url"] == stack.settings["PUBLIC_URL"] + path
        assert (await api.call("GET", path)).raw == data
    await api.looked_at(order_id)
    thumbnail = await api.call("GET", path + "?size=thumb")
    assert thumbnail.headers["Content-Type"] == "image/webp"
    gone = await api.call("DELETE", f"/api/images/orders/{order_id}/")
    assert gone.body == {"success": True, "message": "Order deleted successfully", "order_id": order_id}
    assert not folder.exists()
    assert (await api.call("GET", f"/api/images/orders/{order_id}")).status == 404


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ([], 400),
        ([PHOTO] * 5, 400),
        ([PHOTO, ("e.jpg", b"", None)], 400),
        ([PHOTO, ("e.txt", b"words", "text/plain")], 415),
        ([PHOTO, ("e.gif", pictures.gif(), "image/gif")], 415),
        ([PHOTO, ("e.jpg", PHOTO[1][:5000], None)], 422),
        ([PHOTO, ("e.jpg", pictures.of_bytes(10 * 2**20 + 1), None)], 413),
    ],
    ids=["none", "five", "empty", "text", "gif", "truncated", "large"],
)
async def test_one_bad_file_refuses_the_whole_order(api: Api, files: list[File], status: int) -> None:
    answer = await api.upload(*files, fields=FIELDS)
    assert answer.status == status, answer
    assert answer.body["error"] == answer.body["detail"]
    if len(files) == 2:
        assert files[1][0] in answer.body["error"]
    assert (await api.call("GET", "/api/images/orders")).body["orders"] == []


async def test_a_body_that_is_no_form_has_no_file(api: Api) -> None:
    assert (await api.call("POST", "/api/images/upload", json={"files": []})).status == 400


async def test_four_photos_of_ten_mebibytes_are_an_order(api: Api) -> None:
    largest = pictures.of_bytes(10 * 2**20)
    answer = await api.upload(*((f"{n}.jpg", largest, "image/jpeg") for n in range(4)))
    assert (answer.status, answer.body["files_uploaded"]) == (200, 4)
    await api.call("DELETE", f"/api/images/orders/{answer.body['order_id']}")


async def test_the_same_key_gives_the_same_order(api: Api) -> None:
    answers = [await api.upload(PHOTO, fields=FIELDS, key="a key") for _ in range(2)]
    assert [answer.status for answer in answers] == [422, 422]
    first, again = [await api.upload(PHOTO, fields=FIELDS, key="key-1") for _ in range(2)]
    assert (first.status, again.body) == (200, first.body)
    other = await api.upload(PHOTO, key="key-1")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")


async def test_another_persons_order_is_none(api: Api, stranger: Api, admin: Api) -> None:
    body = (await api.upload(PHOTO)).body
    one = f"/api/images/orders/{body['order_id']}"
    paths = [one, f"{one}/events", f"{one}/files/{body['order_metadata']['files'][0]['filename']}"]
    for path in paths:
        answer = await stranger.call("GET", path)
        assert (answer.status, answer.body["code"]) == (404, "not_found")
    assert (await stranger.call("DELETE", one)).status == 404
    assert (await admin.call("GET", one)).status == 200
    assert (await api.call("PATCH", f"/api/admin/orders/{body['order_id']}", json={"status": "paid"})).status == 403


async def test_events_arrive_as_they_happen(api: Api, admin: Api) -> None:
    order_id = (await api.upload(PHOTO)).body["order_id"]
    async with listening(api, order_id) as listener:
        first = await listener.next()
        assert first is not None
        await admin.call("PATCH", f"/api/admin/orders/{order_id}", json={"status": "paid", "note": "thanks"})
        second = await listener.next()
    assert second is not None
    assert {name: second[name] for name in ("order_id", "status", "note")} == {
        "order_id": order_id,
        "status": "paid",
        "note": "thanks",
    }
    async with listening(api, order_id, str(first["id"])) as listener:
        assert await listener.next() == second


async def test_links_open_without_a_token_what_a_page_shows(api: Api, stack: Stack) -> None:
    order = await api.looked_at((await api.upload(PHOTO)).body["order_id"])
    links = order["files"][0]["links"]
    for link in (links["photo"], links["thumbnail"], order["events"]):
        assert link.startswith(f"{stack.url('gateway')}/api/images/orders/{order['order_id']}/")
        assert (await opened(api, link, "HEAD")).status == 200
        assert (await opened(api, link, "HEAD", Authorization="Bearer no-token")).status == 200
        for changed in (link[:-1], link.replace("expires=1", "expires=2"), link.replace(order["order_id"], "0" * 32)):
            refused = await opened(api, changed)
            assert (refused.status, refused.body["code"]) == (403, "link_invalid")
    shown = await opened(api, links["photo"])
    assert (shown.status, shown.raw) == (200, PHOTO[1])
    assert shown.headers["Cache-Control"].startswith("private")
    old = SignedLinks(stack.settings["INTERNAL_SECRET"], "http://x", lambda: time.time() - 7201)
    expired = await opened(api, old.url("/" + order["files"][0]["url"].split("/", 3)[3]))
    assert (expired.status, expired.body["code"]) == (403, "link_expired")
    signature = links["photo"].rpartition("=")[2]
    assert not [path for path in stack.folder.rglob("*.log") if signature in path.read_text(errors="replace")]


async def test_the_shop_asks_for_a_better_photo_and_gets_one(api: Api, admin: Api) -> None:
    order = await api.looked_at((await api.upload(PHOTO, fields=FIELDS)).body["order_id"])
    order_id, old = order["order_id"], order["files"][0]["filename"]
    await admin.call("PATCH", f"/api/admin/orders/{order_id}", json={"status": "paid"})
    fixed = await replaced(api, order_id, old)
    assert (fixed.status, fixed.body["code"]) == (409, "photo_fixed")
    path = f"/api/admin/orders/{order_id}/photo-requests"
    assert (await api.call("POST", path, json={"filename": old, "reason": "small"})).status == 403
    before = (await admin.call("GET", "/api/admin/summary")).body
    async with listening(api, order_id) as listener:
        assert await listener.next() is not None
        asked = await admin.call("POST", path, json={"filename": old, "reason": "blurred", "note": "His eyes?"})
        assert (asked.status, asked.body["request"]["reason"]) == (201, "blurred")
        heard = await listener.next("photo")
        assert heard is not None
        assert (heard["filename"], heard["what"]) == (old, "requested")
        summary = (await admin.call("GET", "/api/admin/summary")).body
        assert summary["photo_requests"] == before["photo_requests"] + 1
        query = {"photo_requests": "open", "pet_name": "rE", "user_id": order["user_id"]}
        listed = (await admin.call("GET", "/api/admin/orders", params=query)).body["orders"]
        assert [each["order_id"] for each in listed] == [order_id]
        new = await replaced(api, order_id, old)
        assert (new.status, new.body["replaces"], new.body["request"]) == (200, old, None)
        heard = await listener.next("photo")
        assert heard is not None
        assert (heard["filename"], heard["what"]) == (new.body["filename"], "replaced")
    assert (await admin.call("GET", "/api/admin/summary")).body["photo_requests"] == before["photo_requests"]
    await admin.call("POST", path, json={"filename": new.body["filename"], "reason": "other"})
    assert (await admin.call("DELETE", f"{path}/{new.body['filename']}")).status == 200


async def test_all_photos_come_as_one_zip(api: Api, stranger: Api) -> None:
    order = await api.order((await api.upload(PHOTO, ("b.png", pictures.png(), "image/png"))).body["order_id"])
    path = f"/api/images/orders/{order['order_id']}/photos.zip"
    answer = await api.call("GET", path)
    assert answer.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.raw)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["1-rex.jpg", "2-b.png"]
        assert archive.read("1-rex.jpg") == PHOTO[1]
    assert (await opened(api, order["photos_zip"])).raw == answer.raw
    assert (await stranger.call("GET", path)).status == 404


async def test_the_owner_sees_what_there_is_to_do(api: Api, admin: Api) -> None:
    order_id = (await api.upload(PHOTO)).body["order_id"]
    summary = await admin.call("GET", "/api/admin/summary")
    assert set(summary.body) == {"orders", "oldest_paid", "photo_requests", "deliveries"}
    assert summary.body["orders"]["pending"] >= 1
    assert set(summary.body["deliveries"]) == {"pending", "failed"}
    await admin.call("PATCH", f"/api/admin/orders/{order_id}", json={"status": "paid"})
    paid = (await admin.call("GET", "/api/admin/summary")).body
    assert paid["orders"]["paid"] == summary.body["orders"]["paid"] + 1
    assert set(paid["oldest_paid"]) == {"order_id", "at"}
    deliveries = await admin.call("GET", "/api/admin/deliveries", params={"state": "failed", "limit": "1"})
    assert (deliveries.status, deliveries.body["deliveries"]) == (200, [])
    assert (await admin.call("POST", "/api/admin/deliveries/msg_x/resend")).status == 409
    for method, path in (("GET", "/api/admin/summary"), ("GET", "/api/admin/deliveries")):
        assert (await api.call(method, path)).status == 403


async def test_only_legal_moves_and_no_deletion_of_what_is_paid(api: Api, admin: Api) -> None:
    order_id = (await api.upload(PHOTO)).body["order_id"]
    path = f"/api/admin/orders/{order_id}"
    assert (await admin.call("PATCH", path, json={"status": "shipped"})).body["code"] == "illegal_move"
    assert (await admin.call("PATCH", path, json={"status": "nowhere"})).status == 422
    assert (await admin.call("PATCH", path, json={"status": "paid"})).status == 200
    refused = await api.call("DELETE", f"/api/images/orders/{order_id}")
    assert (refused.status, refused.body["code"]) == (409, "order_paid")
    await admin.call("PATCH", path, json={"status": "refunded"})
    assert (await api.call("DELETE", f"/api/images/orders/{order_id}")).status == 200


async def test_an_order_that_awaits_payment_can_be_deleted(api: Api, admin: Api) -> None:
    order_id = (await api.upload(PHOTO)).body["order_id"]
    await admin.call("PATCH", f"/api/admin/orders/{order_id}", json={"status": "awaiting_payment"})
    assert (await api.call("DELETE", f"/api/images/orders/{order_id}")).status == 200


async def test_admins_list_and_export(api: Api, admin: Api) -> None:
    body = (await api.upload(PHOTO, fields={"pet_name": "=1+1"})).body
    query = {"user_id": body["order_metadata"]["user_id"]}
    listing = await admin.call("GET", "/api/admin/orders", params=query)
    assert [order["order_id"] for order in listing.body["orders"]] == [body["order_id"]]
    export = await admin.call("GET", "/api/admin/orders.csv", params=query)
    (row,) = csv.DictReader(io.StringIO(export.raw.decode("utf-8-sig"), newline=""))
    assert (row["order_id"], row["pet_name"]) == (body["order_id"], "'=1+1")


async def test_pages_lead_through_the_listing(api: Api) -> None:
    made = await asyncio.gather(*(api.upload(PHOTO) for _ in range(3)))
    first = await api.call("GET", "/api/images/orders", params={"limit": "2"})
    rest = await api.call("GET", "/api/images/orders", params={"limit": "2", "cursor": first.body["next_cursor"]})
    listed = [order["order_id"] for answer in (first, rest) for order in answer.body["orders"]]
    assert sorted(listed) == sorted(answer.body["order_id"] for answer in made)
    assert rest.body["next_cursor"] is None


async def test_a_browser_may_read_a_photo(api: Api) -> None:
    body = (await api.upload(PHOTO)).body
    path = f"/api/images/orders/{body['order_id']}/files/{body['order_metadata']['files'][0]['filename']}"
    answer = await api.call("GET", path, headers={"Origin": SHOP})
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


async def test_photos_are_not_reachable_under_media(api: Api, stack: Stack, http: aiohttp.ClientSession) -> None:
    metadata = (await api.upload(PHOTO)).body["order_metadata"]
    key = f"uploads/pet_images/{metadata['user_id']}/{metadata['order_id']}/{metadata['files'][0]['filename']}"
    for name in ("media-store", "gateway"):
        async with http.get(f"{stack.url(name)}/media/{key}") as answer:
            assert answer.status == 404
