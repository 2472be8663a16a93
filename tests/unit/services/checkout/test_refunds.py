from __future__ import annotations

import asyncio
from typing import Any

from shared.clock import utc_now
from tests.unit.services.checkout.shop import Shop
from tests.unit.services.checkout.test_fulfilment import signed


async def refund(shop: Shop, *, user: str | None = "admin", **body: Any) -> tuple[int, Any]:
    return await shop.call("POST", "/api/checkout/refunds", json=body, user=user)


async def paid(shop: Shop, body: dict[str, Any] | None = None, **options: Any) -> str:
    session_id = await shop.session(body or {}, **options)
    await shop.press(session_id)
    await shop.status(session_id, **options)
    return session_id


def refunds(shop: Shop) -> list[int]:
    return [made["amount"] for made in reversed(shop.ledger.store.select("refund"))]


async def test_a_payment_is_given_back_in_parts_until_nothing_is_left(shop: Shop) -> None:
    session_id = await paid(shop)
    status, first = await refund(shop, session_id=session_id, amount=50, reason="requested_by_customer")
    made = shop.ledger.store.select("refund")[0]
    assert (status, first) == (
        200,
        {"refund_id": made["id"], "status": "succeeded", "amount": 50, "currency": "usd", "session_id": session_id},
    )
    assert made["reason"] == "requested_by_customer"
    for too_much in (151, 10**30):
        status, answer = await refund(shop, session_id=session_id, amount=too_much)
        assert (status, answer["code"]) == (422, "refund_too_large")
    assert (await refund(shop, session_id=session_id, amount=50, reason="the colour was wrong"))[0] == 200
    assert shop.ledger.store.select("refund")[0]["metadata"]["reason"] == "the colour was wrong"
    status, rest = await refund(shop, session_id=session_id)
    assert (status, rest["amount"]) == (200, 100)
    assert (await refund(shop, session_id=session_id)) == (200, rest)
    assert (await refund(shop, session_id=session_id, amount=1))[0] == 422
    assert refunds(shop) == [50, 50, 100]
    assert (await shop.row(session_id)).refunded_amount == 200


async def test_many_at_once_give_back_no_more_than_was_paid(shop: Shop) -> None:
    session_id = await paid(shop)
    answers = await asyncio.gather(*(refund(shop, session_id=session_id) for _ in range(20)))
    assert {(status, answer.get("refund_id")) for status, answer in answers} == {(200, answers[0][1]["refund_id"])}
    assert refunds(shop) == [200]
    other = await paid(shop)
    answers = await asyncio.gather(*(refund(shop, session_id=other, amount=90 + n) for n in range(10)))
    assert {status for status, _ in answers} == {200, 422}
    assert sum(refunds(shop)) <= 400


async def test_only_an_admin_gives_money_back(shop: Shop) -> None:
    session_id = await paid(shop)
    assert (await refund(shop, user=None, session_id=session_id))[0] == 401
    assert (await refund(shop, user="ann", session_id=session_id))[0] == 403
    assert refunds(shop) == []


async def test_what_cannot_be_refunded_is_refused(shop: Shop) -> None:
    session_id = await shop.session({})
    for body, status in (
        ({}, 400),
        ({"session_id": session_id, "order_id": "o1"}, 422),
        ({"session_id": "cs_test_unknown"}, 404),
        ({"session_id": "x"}, 404),
        ({"order_id": "o1"}, 404),
        ({"session_id": session_id}, 409),
        ({"session_id": session_id, "amount": 0}, 422),
        ({"session_id": session_id, "amount": -5}, 422),
        ({"session_id": session_id, "amount": "5"}, 422),
        ({"session_id": session_id, "amount": 10**30}, 409),
        ({"session_id": session_id, "reason": "a\x00b"}, 422),
        ({"session_id": session_id, "reason": "x" * 501}, 422),
    ):
        assert (await refund(shop, **body))[0] == status, body


async def test_a_refunded_order_moves_once_all_of_it_is_back(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    await paid(shop, {"order_id": order_id}, user="ann")
    await shop.until(lambda: shop.book.status_of(order_id) == "paid")
    assert (await refund(shop, order_id=order_id, amount=900))[1]["amount"] == 900
    await shop.service.sweeper.sweep()
    assert shop.book.status_of(order_id) == "paid"
    assert (await refund(shop, order_id=order_id))[1]["amount"] == 4000
    await shop.until(lambda: shop.book.status_of(order_id) == "refunded")


async def test_a_refund_made_in_the_dashboard_is_known(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    session_id = await paid(shop, {"order_id": order_id}, user="ann")
    await shop.until(lambda: shop.book.status_of(order_id) == "paid")
    async with shop.http.post(
        f"{shop.urls['stripe']}/v1/refunds",
        data={"payment_intent": shop.charges()[0]["payment_intent"]},
        headers={"Authorization": "Bearer sk_test_dashboard"},
    ) as answer:
        assert answer.status == 200
    await shop.until(lambda: shop.book.status_of(order_id) == "refunded")
    assert (await shop.row(session_id)).refunded_amount == 4900
    assert (await refund(shop, order_id=order_id, amount=1))[0] == 422


async def test_a_dashboard_refund_of_which_nobody_told_is_not_paid_twice(shop: Shop) -> None:
    shop.postman.passing = False
    session_id = await paid(shop)
    async with shop.http.post(
        f"{shop.urls['stripe']}/v1/refunds",
        data={"payment_intent": shop.charges()[0]["payment_intent"], "amount": "150"},
        headers={"Authorization": "Bearer sk_test_dashboard"},
    ) as answer:
        assert answer.status == 200
    status, answer_body = await refund(shop, session_id=session_id, amount=100)
    assert (status, answer_body["code"]) == (422, "refund_too_large")
    assert (await refund(shop, session_id=session_id))[1]["amount"] == 50


async def test_a_refund_that_bounces_is_left_to_be_made_again(shop: Shop) -> None:
    from stripe_sandbox.payments import fail_refund

    session_id = await paid(shop)
    _, made = await refund(shop, session_id=session_id)
    with shop.ledger.store.transaction():
        fail_refund(shop.ledger, made["refund_id"])

    async def is_back() -> bool:
        return (await shop.row(session_id)).refunded_amount == 0

    await shop.until(is_back)
    again = await refund(shop, session_id=session_id)
    assert again[1]["refund_id"] != made["refund_id"]


async def test_a_refund_that_comes_before_its_payment_waits_for_it(shop: Shop) -> None:
    shop.postman.passing = False
    session_id = await shop.session({})
    await shop.press(session_id)
    charge = shop.charges()[0]
    event = {"id": "evt_early", "type": "charge.refunded", "data": {"object": charge}}
    assert await shop.postman.bring(signed(event)) == 200
    assert (await shop.row(session_id)).state == "paid"


async def test_a_dispute_is_recorded_and_stops_refunds(shop: Shop) -> None:
    from stripe_sandbox.payments import dispute

    session_id = await paid(shop)
    with shop.ledger.store.transaction():
        dispute(shop.ledger, shop.charges()[0]["id"])
    await shop.until(shop.disputes)
    ((_, row_id, amount, currency, _, _, seen_at),) = await shop.disputes()
    assert (row_id, amount, currency) == ((await shop.row(session_id)).id, 200, "usd")
    assert abs((seen_at - utc_now()).total_seconds()) < 60
    status, answer = await refund(shop, session_id=session_id)
    assert (status, answer["code"]) == (409, "payment_disputed")
