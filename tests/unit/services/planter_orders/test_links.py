"""Signed links: what an `<img>` and an `EventSource` open, which cannot send a token."""

from __future__ import annotations

import time
from typing import Any

import pytest

from services.planter_orders.settings import PlanterOrdersSettings
from shared.auth.signed_links import SignedLinks
from shared.objects import ObjectStore
from tests.unit.services.planter_orders.api import INTERNAL_SECRET, Answer, Api
from tests.unit.services.planter_orders.test_events import Listener
from tests.unit.services.planter_orders.test_orders import PHOTO, moved, ordered


async def opened(api: Api, link: str, method: str = "GET", **headers: str) -> Answer:
    """Open a link without a token, on the service's own port."""
    path = "/" + link.split("/", 3)[3]
    return await Api(api.http, api.url, "").call(method, path, headers=headers, encoded=True)


@pytest.fixture
async def order(api: Api) -> Any:
    return await api.looked_at(await ordered(api))


async def test_photo_and_thumbnail_open_without_a_token(api: Api, order: Any, settings: PlanterOrdersSettings) -> None:
    file = order["files"][0]
    links = file["links"]
    assert set(links) == {"photo", "thumbnail", "expires_at"}
    assert links["expires_at"].endswith("Z")
    assert links["photo"].startswith(f"{settings.public_url}/api/images/orders/{order['order_id']}/files/")
    photo, thumbnail = await opened(api, links["photo"]), await opened(api, links["thumbnail"])
    assert (photo.status, photo.raw, photo.headers["Content-Type"]) == (200, PHOTO[1], "image/jpeg")
    assert (thumbnail.status, thumbnail.headers["Content-Type"]) == (200, "image/webp")
    for answer in (photo, thumbnail):
        assert answer.headers["Cache-Control"].startswith("private, max-age=")
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    head = await opened(api, links["photo"], "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(PHOTO[1])))
    again = await opened(api, links["photo"], **{"If-None-Match": photo.headers["ETag"]})
    assert again.status == 304


async def test_every_answer_has_the_same_links(api: Api, order: Any) -> None:
    made = await api.upload(PHOTO)
    assert set(made.body["order_metadata"]["files"][0]["links"]) == {"photo", "thumbnail", "expires_at"}
    listed = (await api.call("GET", "/api/images/orders")).body["orders"]
    assert listed[1] == order


async def test_events_open_without_a_token(api: Api, order: Any) -> None:
    path = "/" + order["events"].split("/", 3)[3]
    async with api.http.get(api.url + path) as response:
        assert response.status == 200
        listener = Listener(response)
        first = await listener.next()
        await moved(api, order["order_id"], "paid")
        second = await listener.next()
    assert first is not None
    assert second is not None
    assert [first["status"], second["status"]] == ["pending", "paid"]


async def test_a_link_opens_nothing_but_its_path(api: Api, order: Any) -> None:
    other = await api.looked_at(await ordered(api))
    photo, events = order["files"][0]["links"]["photo"], order["events"]
    values = photo.partition("?")[2]
    elsewhere = [
        other["files"][0]["url"] + "?" + values,
        other["events"].partition("?")[0] + "?" + values,
        photo.replace("?", "/?"),
        photo.replace("files/", "%66iles/"),
        photo.replace("expires=1", "expires=2"),
        photo[:-1] + ("0" if photo[-1] != "0" else "1"),
        photo + "&" + values,
        photo.partition("&")[0],
        events.partition("?")[0] + "?signature=",
    ]
    for link in elsewhere:
        answer = await opened(api, link)
        assert (answer.status, answer.body["code"]) == (403, "link_invalid"), link


async def test_a_link_does_not_change_anything(api: Api, order: Any) -> None:
    photo = order["files"][0]["links"]["photo"]
    values = photo.partition("?")[2]
    assert (await opened(api, f"x://x/api/images/orders/{order['order_id']}?{values}", "DELETE")).status == 401
    assert (await opened(api, photo, "DELETE")).status in {401, 405}
    assert await api.order(order["order_id"])


async def test_a_link_whose_time_is_over_says_so(api: Api, order: Any) -> None:
    old = SignedLinks(INTERNAL_SECRET, "http://x", lambda: time.time() - 7201)
    path = "/" + order["files"][0]["url"].split("/", 3)[3]
    answer = await opened(api, old.url(path))
    assert (answer.status, answer.body["code"]) == (403, "link_expired")


async def test_a_good_link_is_enough_whatever_token_comes_with_it(api: Api, order: Any) -> None:
    for link in (order["files"][0]["links"]["photo"], order["photos_zip"]):
        path = "/" + link.split("/", 3)[3]
        for caller in (api, api.as_user("ben"), Api(api.http, api.url, "no-token")):
            assert (await caller.call("GET", path)).status == 200


async def test_with_a_bad_link_the_token_counts(api: Api, order: Any) -> None:
    path = "/" + order["files"][0]["links"]["photo"].split("/", 3)[3] + "0"
    assert (await api.call("GET", path)).status == 200
    assert (await api.as_user("ben").call("GET", path)).status == 404
    assert (await Api(api.http, api.url, "no-token").call("GET", path)).status == 401


async def test_links_end_with_the_order(api: Api, order: Any) -> None:
    await api.call("DELETE", f"/api/images/orders/{order['order_id']}")
    for link in (order["files"][0]["links"]["photo"], order["events"]):
        assert (await opened(api, link)).status == 404


async def test_no_link_is_written_down(api: Api, order: Any, objects: ObjectStore) -> None:
    async with objects.open(f"uploads/pet_images/ann/{order['order_id']}/order_metadata.json") as kept:
        text = (await kept.read()).decode()
    assert order["files"][0]["url"] in text
    for word in ("signature", "expires", "links", "photos_zip"):
        assert word not in text
