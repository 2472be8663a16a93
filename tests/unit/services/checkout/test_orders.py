from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from shared.app.erasure import PATH
from shared.auth.access_tokens import sign_service_token
from tests.unit.services.checkout.shop import INTERNAL_SECRET, Shop, token


async def expire(shop: Shop, order_id: str) -> int:
    bearer = sign_service_token(INTERNAL_SECRET, caller="planter-orders", audience="checkout")
    status, _ = await shop.call("POST", f"/internal/orders/{order_id}/expire-session", user=bearer)
    return status


def at(shop: Shop, order_id: str, status: str) -> bool:
    return shop.book.status_of(order_id) == status


async def test_an_order_is_sold_at_the_catalogues_price_and_moves(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    status, opened = await shop.open({"order_id": order_id}, user="ann")
    assert status == 200
    await shop.until(lambda: at(shop, order_id, "awaiting_payment"))
    session_id = opened["session_id"]
    session = shop.ledger.require("checkout.session", session_id)
    assert (session["amount_total"], session["metadata"]["order_id"]) == (4900, order_id)
    await shop.press(session_id)
    await shop.until(lambda: at(shop, order_id, "paid"))
    status, seen = await shop.status(session_id, user="ann")
    assert (status, seen["metadata"], seen["order_id"], seen["image"]) == (200, {"order_id": order_id}, order_id, None)
    assert (await shop.image(session_id))[0] == 404
    status, answer = await shop.open({"order_id": order_id}, user="ann")
    assert (status, answer["code"]) == (409, "order_paid")


async def test_an_order_and_its_session_are_their_owners_alone(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    assert (await shop.open({"order_id": order_id}))[0] == 401
    assert (await shop.open({"order_id": order_id}, user="a.b.c"))[0] == 401
    for someone in ("bob", "admin"):
        assert (await shop.open({"order_id": order_id}, user=someone))[0] == 404
    for unknown in ("o2", "", "../o1", "o1/../o1", "\x00", "x" * 500):
        assert (await shop.open({"order_id": unknown}, user="ann"))[0] == 404, unknown
    session_id = await shop.session({"order_id": order_id}, user="ann")
    assert (await shop.status(session_id))[0] == 404
    assert (await shop.status(session_id, user="bob"))[0] == 404
    assert (await shop.status(session_id, user=token("ann", exp=1)))[0] == 404
    assert (await shop.status(session_id, user="ann"))[0] == 200


async def test_two_tabs_share_the_orders_session_and_one_charge_is_made(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    bodies: list[dict[str, Any]] = [{"order_id": order_id}, {"order_id": order_id, "quantity": 2}] * 5
    answers = await asyncio.gather(*(shop.open(body, user="ann") for body in bodies))
    assert [status for status, _ in answers] == [200] * 10, answers
    sessions = {answer["session_id"] for _, answer in answers}
    assert len(sessions) == 1
    (session_id,) = sessions
    assert sorted(await asyncio.gather(*(shop.press(session_id) for _ in range(5)))) == [303, 409, 409, 409, 409]
    assert len(shop.charges()) == 1


async def test_an_order_that_cannot_be_paid_is_refused(shop: Shop) -> None:
    for number, (status, code) in enumerate(
        (("cancelled", "order_not_payable"), ("refunded", "order_not_payable"), ("shipped", "order_paid"))
    ):
        answer = await shop.open({"order_id": shop.book.add(f"o{number}", status=status)}, user="ann")
        assert (answer[0], answer[1]["code"]) == (409, code)
    shop.book.is_down = True
    refused = await shop.open({"order_id": "o1"}, user="ann")
    assert (refused[0], refused[1]["code"]) == (503, "planter_orders_unavailable")


async def test_a_session_that_expires_gives_the_order_back(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    session_id = await shop.session({"order_id": order_id}, user="ann")
    await shop.until(lambda: at(shop, order_id, "awaiting_payment"))
    shop.ahead += timedelta(hours=23, minutes=1)
    await shop.until(lambda: at(shop, order_id, "pending"))
    assert (await shop.status(session_id, user="ann"))[1]["status"] == "expired"
    assert await shop.session({"order_id": order_id}, user="ann") != session_id
    await shop.until(lambda: at(shop, order_id, "awaiting_payment"))


async def test_moves_arrive_in_their_order_once_the_order_service_is_back(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    session_id = await shop.session({"order_id": order_id}, user="ann")
    shop.book.is_down = True
    await shop.press(session_id)
    assert (await shop.status(session_id, user="ann"))[1]["payment_status"] == "paid"
    await shop.service.sweeper.sweep()
    assert not at(shop, order_id, "paid")
    shop.book.is_down = False
    shop.ahead += timedelta(minutes=1)
    await shop.until(lambda: at(shop, order_id, "paid"))
    shop.ahead += timedelta(minutes=1)
    await shop.service.sweeper.sweep()
    assert shop.book.events[-1].endswith(":paid")
    assert len(shop.book.events) == len(set(shop.book.events))


async def test_a_paid_order_that_cannot_be_moved_needs_review(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    session_id = await shop.session({"order_id": order_id}, user="ann")
    await shop.until(lambda: at(shop, order_id, "awaiting_payment"))
    shop.book.orders[order_id]["status"] = "cancelled"
    await shop.press(session_id)

    async def is_noted() -> bool:
        return (await shop.row(session_id)).review_reason is not None

    await shop.until(is_noted)
    assert at(shop, order_id, "cancelled")


async def test_a_session_is_given_out_only_once_its_order_waits_for_it(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    shop.book.refuses_moves = True
    status, answer = await shop.open({"order_id": order_id}, user="ann")
    assert (status, answer["code"]) == (503, "planter_orders_unavailable")
    shop.book.refuses_moves = False
    await shop.session({"order_id": order_id}, user="ann")
    assert at(shop, order_id, "awaiting_payment")
    assert len(shop.ledger.store.select("checkout.session")) == 1


async def test_the_session_of_an_order_that_is_deleted_meanwhile_is_closed(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    shop.book.vanishes_after_look = True
    status, answer = await shop.open({"order_id": order_id}, user="ann")
    assert (status, answer["code"]) == (409, "session_closed")
    (session,) = shop.ledger.store.select("checkout.session")
    assert session["status"] == "expired"


async def test_deleting_an_order_expires_its_session_first(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    assert await expire(shop, order_id) == 204
    assert await expire(shop, "../x") == 404
    session_id = await shop.session({"order_id": order_id}, user="ann")
    assert await asyncio.gather(*(expire(shop, order_id) for _ in range(5))) == [204] * 5
    assert shop.ledger.require("checkout.session", session_id)["status"] == "expired"
    assert await shop.press(session_id) == 410
    assert (await shop.status(session_id, user="ann"))[1]["status"] == "expired"


async def test_an_order_that_is_paid_or_being_paid_is_not_closed(shop: Shop) -> None:
    shop.postman.passing = False
    for order_id, method in (("o1", "card"), ("o2", "delayed")):
        shop.book.add(order_id)
        session_id = await shop.session({"order_id": order_id}, user="ann")
        await shop.press(session_id, method=method)
        assert await expire(shop, order_id) == 409
    assert (await shop.open({"order_id": "o2"}, user="ann"))[1]["code"] == "payment_processing"


async def test_a_session_is_not_closed_while_stripe_is_away(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    await shop.session({"order_id": order_id}, user="ann")
    await shop.stop("stripe")
    assert await expire(shop, order_id) == 503


async def test_only_services_close_sessions(shop: Shop) -> None:
    for bearer in (None, token("ann"), sign_service_token("x" * 40, caller="planter-orders", audience="checkout")):
        assert (await shop.call("POST", "/internal/orders/o1/expire-session", user=bearer))[0] == 401


async def test_an_erased_persons_payment_stays_in_the_books_and_is_nobodys(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    session_id = await shop.session({"order_id": order_id}, user="ann")
    await shop.press(session_id)
    await shop.until(lambda: at(shop, order_id, "paid"))
    bearer = sign_service_token(INTERNAL_SECRET, caller="auth-verify", audience="checkout")
    body = {"user_id": "ann", "username": "ann"}
    for is_done in (False, True):
        assert await shop.call("POST", PATH, user=bearer, json=body) == (200, {"done": is_done})
    for user in (None, "ann", "bob"):
        assert (await shop.status(session_id, user=user))[0] == 404
    status, listed = await shop.call("GET", "/api/admin/payments", user="admin")
    assert status == 200
    (payment,) = listed["payments"]
    assert (payment["session_id"], payment["amount_total"], payment["order_id"]) == (session_id, 4900, order_id)
    assert (await shop.call("POST", PATH, user="admin", json=body))[0] == 401
