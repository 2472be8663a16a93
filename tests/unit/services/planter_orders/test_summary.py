"""What the shop's owner sees first: numbers, orders that need a look, and webhooks that did not arrive."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from services.planter_orders.app import build_app
from services.planter_orders.model.orders import Status
from services.planter_orders.settings import PlanterOrdersSettings
from tests.support.serving import ServeApp
from tests.unit.services.planter_orders.api import Answer, Api, token
from tests.unit.services.planter_orders.test_orders import PHOTO, moved, ordered
from tests.unit.services.planter_orders.test_photos import BLURRED, SHARP, replaced, requested, withdrawn
from tests.unit.services.planter_orders.test_webhooks import SECRET, Receiver

NO_ORDERS: dict[str, int] = dict.fromkeys(Status, 0)
NOTHING = {
    "orders": NO_ORDERS,
    "oldest_paid": None,
    "photo_requests": 0,
    "deliveries": {"pending": 0, "failed": 0},
}


@pytest.fixture
def admin(api: Api) -> Api:
    return api.as_user("boss", "admin")


async def summary_of(api: Api) -> Any:
    answer = await api.as_user("boss", "admin").call("GET", "/api/admin/summary")
    assert answer.status == 200, answer
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.body


async def found(admin: Api, **query: str) -> list[str]:
    answer = await admin.call("GET", "/api/admin/orders", params={"limit": "50", **query})
    assert answer.status == 200, answer
    return [order["order_id"] for order in answer.body["orders"]]


class TestSummary:
    async def test_it_counts_what_there_is(self, api: Api) -> None:
        assert await summary_of(api) == NOTHING
        first, second, third = [await ordered(api) for _ in range(3)]
        await moved(api, second, "paid")
        await moved(api, first, "paid")
        await moved(api, third, "cancelled")
        summary = await summary_of(api)
        assert summary["orders"] == NO_ORDERS | {"paid": 2, "cancelled": 1}
        assert summary["oldest_paid"]["order_id"] == second
        assert summary["oldest_paid"]["at"].endswith("Z")
        await moved(api, second, "in_production")
        await api.call("DELETE", f"/api/images/orders/{third}")
        summary = await summary_of(api)
        assert summary["orders"] == NO_ORDERS | {"paid": 1, "in_production": 1}
        assert summary["oldest_paid"]["order_id"] == first

    async def test_open_requests_are_counted_until_they_are_answered(self, api: Api) -> None:
        order = (await api.upload(BLURRED, SHARP, PHOTO)).body["order_metadata"]
        order_id, names = order["order_id"], [file["filename"] for file in order["files"]]
        await moved(api, order_id, "paid")
        counts = []
        for name in (names[0], names[0], names[1], names[2]):
            await requested(api, order_id, name)
            counts.append((await summary_of(api))["photo_requests"])
        await replaced(api, order_id, names[0])
        counts.append((await summary_of(api))["photo_requests"])
        await withdrawn(api, order_id, names[1])
        counts.append((await summary_of(api))["photo_requests"])
        await moved(api, order_id, "in_production", "shipped")
        counts.append((await summary_of(api))["photo_requests"])
        assert counts == [1, 1, 2, 3, 2, 1, 0]

    async def test_a_deleted_order_takes_its_requests_with_it(self, api: Api) -> None:
        order = (await api.upload(BLURRED)).body["order_metadata"]
        await requested(api, order["order_id"], order["files"][0]["filename"])
        await api.call("DELETE", f"/api/images/orders/{order['order_id']}")
        assert await summary_of(api) == NOTHING

    async def test_the_numbers_stay_right_under_many_changes_at_once(self, api: Api) -> None:
        made = [await ordered(api) for _ in range(8)]
        admin = api.as_user("boss", "admin")
        calls = []
        for number, order_id in enumerate(made):
            path = f"/api/admin/orders/{order_id}"
            calls += [admin.call("PATCH", path, json={"status": status}) for status in ("cancelled", "paid")]
            if number % 2:
                calls.append(api.call("DELETE", f"/api/images/orders/{order_id}"))
        assert {answer.status for answer in await asyncio.gather(*calls)} <= {200, 404, 409}
        listed = (await admin.call("GET", "/api/admin/orders")).body["orders"]
        counts = (await summary_of(api))["orders"]
        for status in Status:
            assert counts[status] == sum(order["status"] == status for order in listed)

    async def test_it_is_for_admins(self, local: Api) -> None:
        for path in ("/api/admin/summary", "/api/admin/deliveries"):
            assert (await local.call("GET", path)).status == 403
        assert (await local.call("POST", "/api/admin/deliveries/msg_1/resend")).status == 403


class TestFilters:
    async def test_a_part_of_the_name_in_any_case_finds_an_order(self, api: Api, admin: Api) -> None:
        names = ["Rex", "REXI the 2nd", "T-rex 100%", "Straße", "Zoe\u0308", "_", "İo"]
        made = {name: await ordered(api, pet_name=name) for name in names}
        nameless = await ordered(api)
        for part, expected in (
            ("rex", ["T-rex 100%", "REXI the 2nd", "Rex"]),
            ("EX", ["T-rex 100%", "REXI the 2nd", "Rex"]),
            ("STRASSE", ["Straße"]),
            ("zoë", ["Zoe\u0308"]),
            ("%", ["T-rex 100%"]),
            ("_", ["_"]),
            ("'; --", []),
            ("\\", []),
        ):
            assert await found(admin, pet_name=part) == [made[name] for name in expected], part
        assert nameless not in await found(admin, pet_name="e")
        assert await found(admin, pet_name="rex", limit="1") == [made["T-rex 100%"]]
        assert await found(admin, pet_name="rex", status="paid") == []

    async def test_open_requests_and_warnings_select(self, api: Api, admin: Api) -> None:
        order = (await api.upload(BLURRED)).body["order_metadata"]
        warned, name = order["order_id"], order["files"][0]["filename"]
        fine = (await api.upload(SHARP)).body["order_id"]
        for each in (warned, fine):
            await api.looked_at(each)
        assert await found(admin, quality="warned") == [warned]
        assert await found(admin, quality="warned", status="paid") == []
        assert await found(admin, photo_requests="open") == []
        await requested(api, warned, name)
        assert await found(admin, photo_requests="open") == [warned]
        assert await found(admin, photo_requests="open", quality="warned", user_id="ann") == [warned]
        await replaced(api, warned, name)
        await api.looked_at(warned)
        assert await found(admin, quality="warned") == []
        assert await found(admin, photo_requests="open") == []
        csv = await admin.call("GET", "/api/admin/orders.csv", params={"photo_requests": "open"})
        assert csv.raw.decode("utf-8-sig").count("\r\n") == 1

    @pytest.mark.parametrize("query", ["photo_requests=all", "quality=fine", "pet_name=" + "x" * 101, "pet_name=%00"])
    async def test_what_is_not_allowed_is_422(self, local: Api, query: str) -> None:
        assert (await local.as_user("boss", "admin").call("GET", f"/api/admin/orders?{query}")).status == 422


class TestDeliveries:
    @pytest.fixture
    def receiver(self) -> Receiver:
        return Receiver()

    @pytest.fixture
    async def shop(
        self,
        receiver: Receiver,
        settings: PlanterOrdersSettings,
        serve_app: ServeApp,
        http: aiohttp.ClientSession,
    ) -> Api:
        address = await serve_app(receiver.app())
        changed = settings.model_copy(
            update={"order_webhook_url": f"{address}/hook", "order_webhook_secret": (SECRET,)}
        )
        return Api(http, await serve_app(build_app(changed, decoders=1)), token())

    async def listed(self, shop: Api, **query: str) -> list[Any]:
        answer = await shop.as_user("boss", "admin").call("GET", "/api/admin/deliveries", params=query)
        assert answer.status == 200, answer
        return list(answer.body["deliveries"])

    async def resent(self, shop: Api, message_id: str) -> Answer:
        return await shop.as_user("boss", "admin").call("POST", f"/api/admin/deliveries/{message_id}/resend")

    async def until(self, shop: Api, state: str, count: int) -> list[Any]:
        async with asyncio.timeout(30):
            while len(listed := await self.listed(shop, state=state)) != count:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
        return listed

    async def test_what_was_delivered_is_listed_newest_first(self, shop: Api, receiver: Receiver) -> None:
        order_id = await ordered(shop)
        await moved(shop, order_id, "paid")
        await receiver.count(2)
        newest, oldest = await self.until(shop, "delivered", 2)
        assert newest["data"]["status"] == "paid"
        assert {**oldest, "id": "", "created_at": "", "tried_at": "", "data": {}} == {
            "id": "",
            "type": "order.status",
            "order_id": order_id,
            "data": {},
            "state": "delivered",
            "attempts": 1,
            "created_at": "",
            "tried_at": "",
            "next_try_at": None,
            "last_status": 204,
            "last_error": None,
        }
        assert receiver.taken[0][0]["webhook-id"] == oldest["id"]
        first = await shop.as_user("boss", "admin").call("GET", "/api/admin/deliveries?limit=1")
        assert [each["id"] for each in first.body["deliveries"]] == [newest["id"]]
        rest = await self.listed(shop, cursor=first.body["next_cursor"])
        assert [each["id"] for each in rest] == [oldest["id"]]

    async def test_what_was_given_up_can_be_sent_again(self, shop: Api, receiver: Receiver) -> None:
        receiver.answer = lambda number: 410 if number == 0 else 200
        await ordered(shop)
        (failed,) = await self.until(shop, "failed", 1)
        assert (failed["last_status"], failed["attempts"]) == (410, 1)
        assert (await summary_of(shop))["deliveries"] == {"pending": 0, "failed": 1}
        answer = await self.resent(shop, failed["id"])
        assert (answer.status, answer.body["id"], answer.body["state"]) == (202, failed["id"], "pending")
        (delivered,) = await self.until(shop, "delivered", 1)
        assert (delivered["id"], delivered["attempts"]) == (failed["id"], 2)
        assert [headers["webhook-id"] for headers, _ in receiver.taken] == [failed["id"]] * 2
        assert (await summary_of(shop))["deliveries"] == {"pending": 0, "failed": 0}

    async def test_what_waits_says_why_and_is_sent_at_once_when_asked(self, shop: Api, receiver: Receiver) -> None:
        receiver.answer = lambda number: 500 if number < 3 else 200
        await ordered(shop)
        await receiver.count(3)
        (pending,) = await self.until(shop, "pending", 1)
        assert (await summary_of(shop))["deliveries"] == {"pending": 1, "failed": 0}
        await self.resent(shop, pending["id"])
        (delivered,) = await self.until(shop, "delivered", 1)
        assert (delivered["last_status"], delivered["attempts"]) == (200, 4)

    async def test_photos_that_are_asked_for_and_replaced_are_told(self, shop: Api, receiver: Receiver) -> None:
        order = (await shop.upload(BLURRED)).body["order_metadata"]
        order_id, old = order["order_id"], order["files"][0]["filename"]
        await requested(shop, order_id, old)
        new = (await replaced(shop, order_id, old)).body["filename"]
        await receiver.count(3)
        told = [body for body in receiver.bodies if body["type"] == "order.photo"]
        assert [(body["data"]["filename"], body["data"]["what"]) for body in told] == [
            (old, "requested"),
            (new, "replaced"),
        ]
        assert set(told[0]["data"]) == {"order_id", "filename", "what", "at"}

    async def test_there_is_nobody_to_send_to_without_an_address(self, local: Api) -> None:
        await ordered(local)
        assert await self.listed(local) == []
        answer = await self.resent(local, "msg_x")
        assert (answer.status, answer.body["code"]) == (409, "webhooks_off")

    async def test_an_unknown_one_is_404(self, shop: Api) -> None:
        assert (await self.resent(shop, "msg_x")).status == 404

    @pytest.mark.parametrize("query", ["state=lost", "limit=0", "limit=101", "cursor=x", "cursor=-1", "cursor=²"])
    async def test_what_is_not_allowed_is_422(self, local: Api, query: str) -> None:
        assert (await local.as_user("boss", "admin").call("GET", f"/api/admin/deliveries?{query}")).status == 422
