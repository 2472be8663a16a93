"""docs/contract.md, "checkout": what a frontend may rely on, through the gateway and on the service's own port."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import aiohttp
import jwt
import pytest

from tests.support import pictures
from tests.support.stack import Stack

Door = Callable[[str], str]
OPEN, STATUS = "/api/checkout/embedded-session", "/api/checkout/session-status"
IMAGE = pictures.png()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Buyer:
    """The shop's page in a browser: it knows one address, and the payer's card."""

    def __init__(self, http: aiohttp.ClientSession, door: Door, stack: Stack) -> None:
        self._http = http
        self._door = door
        self._stack = stack

    async def call(self, service: str, method: str, path: str, **options: Any) -> tuple[aiohttp.ClientResponse, Any]:
        async with self._http.request(method, self._door(service) + path, **options) as answer:
            return answer, await (answer.json() if "json" in answer.content_type else answer.read())

    async def upload(self) -> str:
        form = aiohttp.FormData()
        form.add_field("image", IMAGE, filename="photo.png", content_type="image/png")
        _, body = await self.call("temp-image", "POST", "/api/temp-image-upload", data=form)
        return str(body["imageId"])

    async def open(self, body: Any, **options: Any) -> tuple[int, Any]:
        answer, opened = await self.call("checkout", "POST", OPEN, json=body, **options)
        return answer.status, opened

    async def status(self, session_id: str) -> tuple[int, Any]:
        answer, body = await self.call("checkout", "GET", STATUS, params={"session_id": session_id})
        return answer.status, body

    async def pay(self, session_id: str) -> str:
        url = f"{self._stack.url('stripe-sandbox')}/pay/{session_id}"
        async with self._http.post(url, data={"action": "pay"}, allow_redirects=False) as answer:
            assert answer.status == 303
            return answer.headers["Location"]


@pytest.fixture
def buyer(http: aiohttp.ClientSession, door: Door, stack: Stack) -> Buyer:
    return Buyer(http, door, stack)


async def test_the_whole_purchase(buyer: Buyer, stack: Stack) -> None:
    image_id = await buyer.upload()
    answer, opened = await buyer.call("checkout", "POST", OPEN, json={"imageId": image_id})
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert set(opened) == {"client_secret", "session_id", "expires_at", "publishable_key", "pay_url"}
    session_id = opened["session_id"]
    assert re.fullmatch(r"cs_test_[A-Za-z0-9]+", session_id)
    seconds = (datetime.fromisoformat(opened["expires_at"]) - datetime.now(UTC)).total_seconds()
    assert opened["expires_at"].endswith("Z")
    assert 2000 < seconds <= 2100
    assert await buyer.pay(session_id) == f"http://localhost:3000/hero-me?session_id={session_id}"
    status, seen = await buyer.status(session_id)
    assert status == 200
    assert seen == {
        "status": "complete",
        "metadata": {"imageId": image_id},
        "payment_status": "paid",
        "amount_total": 200,
        "currency": "usd",
        "order_id": None,
        "image": {
            "state": "promoted",
            "url": f"{stack.settings['PUBLIC_URL']}/api/checkout/sessions/{session_id}/image",
        },
    }
    for _ in range(3):
        answer, image = await buyer.call("checkout", "GET", f"/api/checkout/sessions/{session_id}/image")
        assert (answer.status, answer.content_type, image) == (200, "image/png", IMAGE)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer, image = await buyer.call("checkout", "HEAD", f"/api/checkout/sessions/{session_id}/image")
    assert (answer.status, answer.headers["Content-Length"], image) == (200, str(len(IMAGE)), b"")
    retrieve = {"imageId": image_id}
    answer, image = await buyer.call("temp-image", "GET", "/api/temp-image-retrieve", params=retrieve)
    assert (answer.status, image) == (200, IMAGE)
    answer, _ = await buyer.call("temp-image", "GET", "/api/temp-image-retrieve", params=retrieve)
    assert answer.status == 404


async def test_paths_work_with_a_slash_at_the_end(buyer: Buyer) -> None:
    answer, opened = await buyer.call("checkout", "POST", f"{OPEN}/", json={})
    assert answer.status == 200
    answer, _ = await buyer.call("checkout", "GET", f"{STATUS}/", params={"session_id": opened["session_id"]})
    assert answer.status == 200


async def test_a_default_session_is_a_new_one_each_time(buyer: Buyer) -> None:
    (_, first), (_, second) = await buyer.open({}), await buyer.open({"imageId": None})
    assert first["session_id"] != second["session_id"]
    _, seen = await buyer.status(first["session_id"])
    assert (seen["amount_total"], seen["currency"], seen["metadata"], seen["image"]) == (200, "usd", {}, None)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"amount": 1}, 422, "price_not_allowed"),
        ({"a": [{"return_url": 1}]}, 422, "price_not_allowed"),
        ({"quantity": 11}, 422, "quantity_not_allowed"),
        ({"imageId": "f" * 32}, 409, "image_unavailable"),
        ({"imageId": {}}, 409, "image_unavailable"),
        ({"sku": ""}, 422, "unknown_sku"),
        ({"order_id": "x"}, 401, "unauthorized"),
        ([], 400, "invalid_json"),
    ],
)
async def test_refusals(buyer: Buyer, body: Any, status: int, code: str) -> None:
    answer = await buyer.open(body)
    assert (answer[0], answer[1]["code"]) == (status, code)


async def test_the_sentence_for_a_missing_session_id(buyer: Buyer) -> None:
    answer, body = await buyer.call("checkout", "GET", STATUS)
    assert (answer.status, body["error"]) == (400, "session_id is required")
    assert (await buyer.status("nonsense"))[0] == 400
    assert (await buyer.status("cs_test_nobody"))[0] == 404


async def test_an_image_is_for_who_paid(buyer: Buyer) -> None:
    _, opened = await buyer.open({"imageId": await buyer.upload()})
    path = f"/api/checkout/sessions/{opened['session_id']}/image"
    answer, body = await buyer.call("checkout", "GET", path)
    assert (answer.status, body["code"]) == (409, "not_paid")
    for unknown in ("x", "cs_test_nobody"):
        answer, _ = await buyer.call("checkout", "GET", f"/api/checkout/sessions/{unknown}/image")
        assert answer.status == 404


async def test_an_unsigned_event_is_never_taken(buyer: Buyer) -> None:
    for options in (
        {"json": {"id": "evt_1"}},
        {"data": b""},
        {"json": {}, "headers": {"Stripe-Signature": "t=1,v1=0"}},
    ):
        answer, body = await buyer.call("checkout", "POST", "/api/checkout/webhook", **options)
        assert (answer.status, body["code"]) == (400, "webhook_not_accepted")


async def test_refunds_need_a_token(buyer: Buyer) -> None:
    answer, _ = await buyer.call("checkout", "POST", "/api/checkout/refunds", json={"session_id": "cs_test_x"})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_the_same_key_gives_the_first_answer(buyer: Buyer) -> None:
    key = {"Idempotency-Key": (await buyer.upload())}
    first = await buyer.open({}, headers=key)
    assert first[0] == 200
    assert await buyer.open({}, headers=key) == first
    status, body = await buyer.open({"quantity": 2}, headers=key)
    assert (status, body["code"]) == (422, "idempotency_key_reused")


def bearer(stack: Stack, user: str, *, admin: bool = False) -> dict[str, str]:
    claims = {"sub": user, "username": user, "iss": "keepsake", "aud": "keepsake", "exp": int(time.time()) + 600}
    signed = jwt.encode({**claims, "roles": ["admin"] if admin else []}, stack.settings["JWT_SECRET_KEY"], "HS256")
    return {"Authorization": f"Bearer {signed}"}


async def make_order(buyer: Buyer, owner: dict[str, str]) -> str:
    form = aiohttp.FormData()
    form.add_field("files", IMAGE, filename="pet.png", content_type="image/png")
    answer, body = await buyer.call("planter-orders", "POST", "/api/images/upload", data=form, headers=owner)
    assert answer.status == 200
    return str(body["order_id"])


async def order_is(buyer: Buyer, owner: dict[str, str], order_id: str, status: str) -> None:
    async with asyncio.timeout(20):
        while True:
            _, body = await buyer.call("planter-orders", "GET", f"/api/images/orders/{order_id}", headers=owner)
            if body["order"]["status"] == status:
                return
            await asyncio.sleep(0.05)


async def test_an_order_is_paid_and_refunded(buyer: Buyer, stack: Stack) -> None:
    owner, admin = bearer(stack, f"owner-{uuid4().hex}"), bearer(stack, "boss", admin=True)
    order_id = await make_order(buyer, owner)
    assert (await buyer.open({"order_id": order_id}))[0] == 401
    assert (await buyer.open({"order_id": order_id}, headers=bearer(stack, "stranger")))[0] == 404
    status, opened = await buyer.open({"order_id": order_id}, headers=owner)
    assert status == 200
    await order_is(buyer, owner, order_id, "awaiting_payment")
    assert (await buyer.open({"order_id": order_id}, headers=owner))[1]["session_id"] == opened["session_id"]
    await buyer.pay(opened["session_id"])
    await order_is(buyer, owner, order_id, "paid")
    assert (await buyer.status(opened["session_id"]))[0] == 404
    query = {"session_id": opened["session_id"]}
    answer, seen = await buyer.call("checkout", "GET", STATUS, params=query, headers=owner)
    assert (answer.status, seen["order_id"], seen["metadata"]) == (200, order_id, {"order_id": order_id})
    assert (seen["amount_total"], seen["payment_status"], seen["image"]) == (4900, "paid", None)
    answer, _ = await buyer.call("planter-orders", "DELETE", f"/api/images/orders/{order_id}", headers=owner)
    assert answer.status == 409
    refund = {"order_id": order_id}
    answer, _ = await buyer.call("checkout", "POST", "/api/checkout/refunds", json=refund, headers=owner)
    assert answer.status == 403
    answer, made = await buyer.call("checkout", "POST", "/api/checkout/refunds", json=refund, headers=admin)
    assert (answer.status, made["amount"], made["currency"], made["session_id"]) == (
        200,
        4900,
        "usd",
        opened["session_id"],
    )
    await order_is(buyer, owner, order_id, "refunded")


async def test_deleting_an_order_closes_its_session(buyer: Buyer, stack: Stack, http: aiohttp.ClientSession) -> None:
    owner = bearer(stack, f"owner-{uuid4().hex}")
    order_id = await make_order(buyer, owner)
    _, opened = await buyer.open({"order_id": order_id}, headers=owner)
    answer, _ = await buyer.call("planter-orders", "DELETE", f"/api/images/orders/{order_id}", headers=owner)
    assert answer.status == 200
    url = f"{stack.url('stripe-sandbox')}/pay/{opened['session_id']}"
    async with http.post(url, data={"action": "pay"}, allow_redirects=False) as page:
        assert page.status == 410


@pytest.mark.parametrize("target", ["paid", "pending", "cancelled"])
async def test_an_order_that_an_admin_moves_cannot_be_paid_by_its_old_session(
    buyer: Buyer, stack: Stack, http: aiohttp.ClientSession, target: str
) -> None:
    owner, admin = bearer(stack, f"owner-{uuid4().hex}"), bearer(stack, "boss", admin=True)
    order_id = await make_order(buyer, owner)
    _, opened = await buyer.open({"order_id": order_id}, headers=owner)
    move = {"status": target, "note": "by hand"}
    answer, _ = await buyer.call("planter-orders", "PATCH", f"/api/admin/orders/{order_id}", json=move, headers=admin)
    assert answer.status == 200
    url = f"{stack.url('stripe-sandbox')}/pay/{opened['session_id']}"
    async with http.post(url, data={"action": "pay"}, allow_redirects=False) as page:
        assert page.status == 410


async def test_an_admin_looks_through_payments_and_decides(buyer: Buyer, stack: Stack) -> None:
    admin, path = bearer(stack, "boss", admin=True), "/api/admin/payments"
    _, opened = await buyer.open({"imageId": await buyer.upload()})
    session_id = opened["session_id"]
    for headers, status in (({}, 401), (bearer(stack, "ann"), 403)):
        answer, _ = await buyer.call("checkout", "GET", path, headers=headers)
        assert answer.status == status
        decision = {"action": "refund", "note": ""}
        answer, _ = await buyer.call("checkout", "POST", f"{path}/{session_id}/resolve", json=decision, headers=headers)
        assert answer.status == status
    answer, page = await buyer.call("checkout", "GET", path, params={"limit": "1", "state": "open"}, headers=admin)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    found = page["payments"][0]
    assert (found["session_id"], found["state"], found["image"]["state"]) == (session_id, "open", "held")
    for unknown, status in ((session_id, 409), ("cs_test_nobody", 404), ("nonsense", 404)):
        answer, body = await buyer.call(
            "checkout", "POST", f"{path}/{unknown}/resolve", json={"action": "fulfil"}, headers=admin
        )
        assert answer.status == status
    # What is paid is not what the catalogue asks for.
    with closing(sqlite3.connect(stack.folder / "var/stripe-sandbox/sandbox.sqlite3", timeout=20)) as books, books:
        books.execute("UPDATE objects SET body = json_set(body, '$.amount_total', 2) WHERE id = ?", (session_id,))
    await buyer.pay(session_id)
    await buyer.status(session_id)
    answer, page = await buyer.call("checkout", "GET", path, params={"state": "needs_review"}, headers=admin)
    found = next(one for one in page["payments"] if one["session_id"] == session_id)
    assert (found["payment_status"], found["amount_total"], found["amount_refunded"]) == ("paid", 2, 0)
    assert found["review_reason"]
    decision = {"action": "fulfil", "note": "It was on sale."}
    answer, body = await buyer.call("checkout", "POST", f"{path}/{session_id}/resolve", json=decision, headers=admin)
    assert (answer.status, body["state"], body["image"]["state"]) == (200, "paid", "promoted")
    (written,) = body["resolutions"]
    assert (written["note"], written["by"]) == ("It was on sale.", "boss")
    answer, _ = await buyer.call("checkout", "POST", f"{path}/{session_id}/resolve", json=decision, headers=admin)
    assert answer.status == 409
