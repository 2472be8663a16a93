from __future__ import annotations

import asyncio
import csv
import io
from typing import Any

import pytest

from tests.unit.services.planter_orders.api import Api
from tests.unit.services.planter_orders.test_orders import NO_ORDER, PHOTO, moved, ordered


@pytest.fixture
def admin(api: Api) -> Api:
    return api.as_user("boss", "admin")


async def patch(api: Api, order_id: str, **body: Any) -> Any:
    return await api.call("PATCH", f"/api/admin/orders/{order_id}", json=body)


class TestMoves:
    async def test_a_legal_one_is_made(self, api: Api, admin: Api) -> None:
        order_id = await ordered(api)
        answer = await patch(admin, order_id, status="paid", note="by hand")
        assert answer.status == 200
        assert (answer.body["success"], answer.body["order"]["status"]) == (True, "paid")
        assert (await api.order(order_id))["status"] == "paid"

    async def test_an_illegal_one_is_409(self, api: Api, admin: Api) -> None:
        order_id = await ordered(api)
        for status in ("shipped", "pending", "refunded"):
            answer = await patch(admin, order_id, status=status)
            assert (answer.status, answer.body["code"]) == (409, "illegal_move")
        assert (await api.order(order_id))["status"] == "pending"

    async def test_of_many_at_once_one_is_made(self, api: Api, admin: Api) -> None:
        order_id = await ordered(api)
        answers = await asyncio.gather(*(patch(admin, order_id, status="cancelled") for _ in range(8)))
        assert sorted(answer.status for answer in answers) == [200] + [409] * 7

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({}, 400),
            ({"status": "lost"}, 422),
            ({"status": 1}, 422),
            ({"status": "paid", "note": "x" * 501}, 422),
            ({"status": "paid", "note": "a\0b"}, 422),
            ({"status": "paid", "note": 5}, 422),
        ],
    )
    async def test_what_is_no_move_is_refused(self, local: Api, body: dict[str, Any], status: int) -> None:
        order_id = await ordered(local)
        answer = await patch(local.as_user("boss", "admin"), order_id, **body)
        assert answer.status == status

    async def test_only_admins_may(self, api: Api, admin: Api) -> None:
        order_id = await ordered(api)
        assert (await patch(api, order_id, status="paid")).status == 403
        assert (await api.call("GET", "/api/admin/orders")).status == 403
        assert (await api.call("GET", "/api/admin/orders.csv")).status == 403
        assert (await patch(admin, NO_ORDER, status="paid")).status == 404
        assert (await patch(admin, "x", status="paid")).status == 404


class TestListing:
    async def found(self, admin: Api, **query: str) -> list[str]:
        answer = await admin.call("GET", "/api/admin/orders", params=query)
        assert answer.status == 200, answer
        assert answer.body["count"] == len(answer.body["orders"])
        return [order["order_id"] for order in answer.body["orders"]]

    async def test_filters_select(self, api: Api, admin: Api) -> None:
        first, second = await ordered(api), await ordered(api.as_user("ben"))
        third = await ordered(api)
        await moved(api, third, "cancelled")
        assert await self.found(admin) == [third, second, first]
        assert await self.found(admin, user_id="ben") == [second]
        assert await self.found(admin, status="pending") == [second, first]
        assert await self.found(admin, status="cancelled", user_id="ben") == []
        at = (await admin.order(second))["upload_timestamp"]
        assert await self.found(admin, since=at) == [third, second]
        assert await self.found(admin, until=at) == [second, first]
        assert await self.found(admin, since=at, until=at, limit="1") == [second]
        assert await self.found(admin, since="9998-01-01T00:00:00+14:00") == []

    @pytest.mark.parametrize(
        "query", ["since=yesterday", "since=2025-01-01", "until=2025-13-01T00:00:00Z", "since=0001-01-01T00:00:00%2b14:00",
                  "until=1700000000", "user_id=a%00b", "limit=1000"]
    )  # fmt: skip
    async def test_what_is_not_allowed_is_422(self, local: Api, query: str) -> None:
        admin = local.as_user("boss", "admin")
        for path in ("/api/admin/orders", "/api/admin/orders.csv"):
            assert (await admin.call("GET", f"{path}?{query}")).status == 422


class TestCsv:
    async def test_it_has_every_order_and_no_formula(self, api: Api, admin: Api) -> None:
        evil = '=HYPERLINK("http://evil.example","click")'
        answer = await api.upload((f"{'+1'}.jpg", *PHOTO[1:]), fields={"pet_name": evil, "notes": 'a "b",\r\nc'})
        order_id = answer.body["order_id"]
        other = await ordered(api.as_user("ben"))
        answer = await admin.call("GET", "/api/admin/orders.csv")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert answer.headers["Content-Disposition"] == 'attachment; filename="orders.csv"'
        rows = list(csv.DictReader(io.StringIO(answer.raw.decode("utf-8-sig"), newline="")))
        assert [row["order_id"] for row in rows] == [other, order_id]
        row = rows[1]
        assert (row["user_id"], row["status"], row["files"]) == ("ann", "pending", "1")
        assert row["pet_name"] == "'" + evil
        assert row["notes"] == 'a "b",\r\nc'
        assert row["original_filenames"] == "'+1.jpg"

    async def test_filters_and_pages_hold_here_too(self, api: Api, admin: Api) -> None:
        made = [await ordered(api) for _ in range(3)]
        answer = await admin.call("GET", "/api/admin/orders.csv", params={"limit": "2", "user_id": "ann"})
        assert answer.raw.decode().count("\r\n") == 3
        page = await admin.call("GET", "/api/admin/orders", params={"limit": "2"})
        answer = await admin.call("GET", "/api/admin/orders.csv", params={"cursor": page.body["next_cursor"]})
        rows = list(csv.DictReader(io.StringIO(answer.raw.decode("utf-8-sig"), newline="")))
        assert [row["order_id"] for row in rows] == made[:1]
        empty = await admin.call("GET", "/api/admin/orders.csv", params={"user_id": "nobody"})
        assert empty.raw.decode().count("\r\n") == 1
