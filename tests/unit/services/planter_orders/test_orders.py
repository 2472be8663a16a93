from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from services.planter_orders.app import build_app
from services.planter_orders.settings import PlanterOrdersSettings
from shared.objects import ObjectStore
from tests.support import pictures
from tests.support.serving import ServeApp
from tests.unit.services.planter_orders.api import Api, File, token

PHOTO: File = ("rex.jpg", pictures.jpeg(), "image/jpeg")
NO_ORDER = "0" * 32


async def ordered(api: Api, **fields: str) -> str:
    answer = await api.upload(PHOTO, fields=fields)
    assert answer.status == 200, answer
    return str(answer.body["order_id"])


async def moved(api: Api, order_id: str, *statuses: str) -> None:
    admin = api.as_user("boss", "admin")
    for status in statuses:
        answer = await admin.call("PATCH", f"/api/admin/orders/{order_id}", json={"status": status})
        assert answer.status == 200, answer


class TestListings:
    async def test_own_orders_come_newest_first(self, api: Api) -> None:
        made = [await ordered(api) for _ in range(3)]
        await ordered(api.as_user("ben"))
        body = (await api.call("GET", "/api/images/orders")).body
        assert body["success"] is True
        assert [order["order_id"] for order in body["orders"]] == made[::-1]
        assert body["count"] == 3

    async def test_nobodys_orders_are_none(self, api: Api) -> None:
        body = (await api.call("GET", "/api/images/orders")).body
        assert (body["orders"], body["count"]) == ([], 0)

    async def test_pages_lead_through_all_of_them(self, api: Api) -> None:
        made = [await ordered(api) for _ in range(5)]
        seen: list[str] = []
        cursor = ""
        for expected in (2, 2, 1):
            answer = await api.call("GET", "/api/images/orders", params={"limit": "2", "cursor": cursor})
            seen += [order["order_id"] for order in answer.body["orders"]]
            assert answer.body["count"] == expected
            cursor = answer.body["next_cursor"]
        assert cursor is None
        assert seen == made[::-1]

    async def test_a_status_selects(self, api: Api) -> None:
        first, second = await ordered(api), await ordered(api)
        await moved(api, first, "cancelled")
        for status, expected in (("cancelled", [first]), ("pending", [second]), ("paid", [])):
            body = (await api.call("GET", "/api/images/orders", params={"status": status})).body
            assert [order["order_id"] for order in body["orders"]] == expected

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=101", "limit=x", "status=lost", "cursor=x", "cursor=" + "A" * 200, "cursor=%00"]
    )
    async def test_what_is_not_allowed_is_422(self, local: Api, query: str) -> None:
        assert (await local.call("GET", f"/api/images/orders?{query}")).status == 422

    async def test_head_has_no_body(self, local: Api) -> None:
        await ordered(local)
        for path in ("/api/images/orders", "/api/images/orders?limit=1"):
            answer = await local.call("HEAD", path)
            assert (answer.status, answer.raw) == (200, b"")


class TestOne:
    async def test_the_owner_and_an_admin_see_it(self, api: Api) -> None:
        order_id = await ordered(api, pet_name="Rex")
        mine = await api.call("GET", f"/api/images/orders/{order_id}")
        assert mine.body["success"] is True
        assert mine.body["order"]["pet_name"] == "Rex"
        theirs = await api.as_user("boss", "admin").call("GET", f"/api/images/orders/{order_id}/")
        assert theirs.body["order"]["user_id"] == "ann"

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    async def test_anothers_is_as_if_there_were_none(self, api: Api, method: str) -> None:
        order_id = await ordered(api)
        ben = api.as_user("ben")
        answers = [
            await ben.call(method, f"/api/images/orders/{each}")
            for each in (order_id, NO_ORDER, "x", order_id.upper(), f"{order_id}%0A")
        ]
        for answer in answers:
            assert (answer.status, answer.body["error"]) == (404, "Order not found")
        assert await api.order(order_id)


class TestDeleting:
    async def test_everything_goes(self, api: Api, objects: ObjectStore) -> None:
        order_id = await ordered(api)
        await api.looked_at(order_id)
        answer = await api.call("DELETE", f"/api/images/orders/{order_id}")
        assert answer.status == 200
        assert answer.body == {"success": True, "message": "Order deleted successfully", "order_id": order_id}
        assert (await api.call("GET", f"/api/images/orders/{order_id}")).status == 404
        assert (await api.call("DELETE", f"/api/images/orders/{order_id}")).status == 404
        assert [facts.key async for facts in objects.list("uploads/")] == []

    @pytest.mark.parametrize("statuses", [("cancelled",), ("paid", "refunded")])
    async def test_what_is_over_may_go(self, local: Api, statuses: tuple[str, ...]) -> None:
        order_id = await ordered(local)
        await moved(local, order_id, *statuses)
        assert (await local.call("DELETE", f"/api/images/orders/{order_id}")).status == 200

    @pytest.mark.parametrize("more", [(), ("in_production",), ("in_production", "shipped", "delivered")])
    async def test_what_is_paid_stays(self, api: Api, more: tuple[str, ...]) -> None:
        order_id = await ordered(api)
        await moved(api, order_id, "paid", *more)
        for caller in (api, api.as_user("boss", "admin")):
            answer = await caller.call("DELETE", f"/api/images/orders/{order_id}")
            assert (answer.status, answer.body["code"]) == (409, "order_paid")
        assert await api.order(order_id)

    async def test_of_many_at_once_one_deletes(self, api: Api) -> None:
        order_id = await ordered(api)
        answers = await asyncio.gather(*(api.call("DELETE", f"/api/images/orders/{order_id}") for _ in range(8)))
        assert sorted(answer.status for answer in answers) == [200] + [404] * 7


class Checkout:
    """Answers as checkout's internal path does; `status` is what it says next."""

    def __init__(self) -> None:
        self.status = 204
        self.asked: list[str] = []

    async def expire(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"].startswith("Bearer ")
        self.asked.append(request.match_info["order_id"])
        return web.Response(status=self.status)


@pytest.fixture
async def checkout(serve_app: ServeApp) -> tuple[Checkout, str]:
    fake, app = Checkout(), web.Application()
    app.router.add_post("/internal/orders/{order_id}/expire-session", fake.expire)
    return fake, await serve_app(app)


class TestAwaitingPayment:
    @pytest.fixture
    async def shop(
        self,
        checkout: tuple[Checkout, str],
        settings: PlanterOrdersSettings,
        serve_app: ServeApp,
        http: aiohttp.ClientSession,
    ) -> Api:
        changed = settings.model_copy(update={"checkout_url": (checkout[1],)})
        return Api(http, await serve_app(build_app(changed, decoders=1)), token())

    async def test_its_payment_session_is_expired_first(self, shop: Api, checkout: tuple[Checkout, str]) -> None:
        order_id = await ordered(shop)
        await moved(shop, order_id, "awaiting_payment")
        assert (await shop.call("DELETE", f"/api/images/orders/{order_id}")).status == 200
        assert checkout[0].asked == [order_id]

    async def test_one_that_was_just_paid_stays(self, shop: Api, checkout: tuple[Checkout, str]) -> None:
        checkout[0].status = 409
        order_id = await ordered(shop)
        await moved(shop, order_id, "awaiting_payment")
        answer = await shop.call("DELETE", f"/api/images/orders/{order_id}")
        assert (answer.status, answer.body["code"]) == (409, "order_paid")
        assert await shop.order(order_id)

    @pytest.mark.parametrize("target", ["cancelled", "paid"])
    async def test_one_that_is_being_paid_is_told_so(
        self, shop: Api, checkout: tuple[Checkout, str], target: str
    ) -> None:
        checkout[0].status = 409
        order_id = await ordered(shop)
        await moved(shop, order_id, "awaiting_payment")
        boss = shop.as_user("boss", "admin")
        for answer in (
            await boss.call("PATCH", f"/api/admin/orders/{order_id}", json={"status": target}),
            await boss.call("DELETE", f"/api/images/orders/{order_id}"),
        ):
            assert (answer.status, answer.body["code"]) == (409, "order_paid")
            assert "on its way" in answer.body["error"]
        assert (await shop.order(order_id))["status"] == "awaiting_payment"

    async def test_while_checkout_is_down_nothing_is_deleted(self, local: Api) -> None:
        order_id = await ordered(local)
        await moved(local, order_id, "awaiting_payment")
        answer = await local.call("DELETE", f"/api/images/orders/{order_id}")
        assert answer.status == 503
        assert "Retry-After" in answer.headers
        assert await local.order(order_id)


class TestInternal:
    async def test_a_service_learns_whose_an_order_is(self, api: Api) -> None:
        order_id = await ordered(api)
        answer = await api.internal("GET", f"/internal/orders/{order_id}")
        assert answer.body == {"order_id": order_id, "user_id": "ann", "status": "pending"}
        assert (await api.internal("GET", f"/internal/orders/{NO_ORDER}")).status == 404

    async def test_a_user_does_not(self, local: Api) -> None:
        order_id = await ordered(local)
        assert (await local.as_user("boss", "admin").call("GET", f"/internal/orders/{order_id}")).status == 401

    async def test_telling_twice_is_telling_once(self, api: Api) -> None:
        order_id = await ordered(api)

        async def tell(status: str, event_id: str) -> Any:
            body = {"status": status, "note": None, "event_id": event_id}
            return await api.internal("POST", f"/internal/orders/{order_id}/status", json=body)

        assert (await tell("paid", "evt_1")).body["status"] == "paid"
        assert (await tell("paid", "evt_2")).status == 200
        await moved(api, order_id, "in_production")
        for event_id in ("evt_1", "evt_2"):
            again = await tell("paid", event_id)
            assert (again.status, again.body["status"]) == (200, "in_production")
        late = await tell("pending", "evt_3")
        assert (late.status, late.body["code"]) == (409, "illegal_move")
        assert (await tell("lost", "evt_4")).status == 422
