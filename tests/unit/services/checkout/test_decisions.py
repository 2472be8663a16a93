"""Decisions about payments in review: at the same moment, about orders, about images that are gone, and given back otherwise."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.services.checkout.shop import Shop, picture
from tests.unit.services.checkout.test_refunds import paid, refund
from tests.unit.services.checkout.test_review import in_review, payments, refunds, resolve

MIXTURES = (
    ("fulfil", "refund") * 2,
    ("refund", "refund", "fulfil", "fulfil"),
    ("refund", "fulfil", "fulfil", "refund"),
)
ORDER_REFUSED = "Paid, but the order does not take the payment."
IMAGE_GONE = "The image of this payment is not there."


async def listed(shop: Shop, state: str) -> list[str]:
    return [one["session_id"] for one in (await payments(shop, state=state))[1]["payments"]]


async def order_in_review(shop: Shop, order_id: str = "o1") -> str:
    """Pay an order that is cancelled meanwhile; return the session's id once its payment is in review."""
    shop.book.add(order_id)
    session_id = await shop.session({"order_id": order_id}, user="ann")
    shop.book.orders[order_id]["status"] = "cancelled"
    await shop.press(session_id)

    async def is_listed() -> bool:
        return session_id in await listed(shop, "needs_review")

    await shop.until(is_listed)
    return session_id


async def image_lost(shop: Shop) -> tuple[str, str]:
    """Pay for an image that is taken away meanwhile; return the session's id and the image's."""
    image_id = await shop.upload()
    session_id = await shop.session({"imageId": image_id})
    files = [path for path in (shop.folder / "var").rglob(f"*{image_id}*") if path.is_file()]
    assert files
    await shop.stop("temp-image")
    for path in files:
        path.unlink()
    await shop.start("temp-image")
    await shop.press(session_id)
    await shop.status(session_id)
    assert (await shop.row(session_id)).review_reason == IMAGE_GONE
    return session_id, image_id


async def prepare(shop: Shop, kind: str, number: int) -> str:
    if kind == "amount":
        return await in_review(shop, {"imageId": await shop.upload()})
    if kind == "order amount":
        return await in_review(shop, {"order_id": shop.book.add(f"o{number}")}, user="ann")
    session_id = await order_in_review(shop, f"o{number}")
    shop.book.orders[f"o{number}"]["status"] = "pending"  # so that both decisions are possible
    return session_id


@pytest.mark.parametrize("kind", ["amount", "order amount", "order"])
async def test_the_money_goes_back_or_the_goods_go_out_and_never_both(shop: Shop, kind: str) -> None:
    for number in range(20):
        session_id = await prepare(shop, kind, number)
        before = len(refunds(shop))
        answers = await asyncio.gather(
            *(resolve(shop, session_id, action) for action in MIXTURES[number % len(MIXTURES)])
        )
        assert {status for status, _ in answers} <= {200, 409}, answers
        (decided,) = {answer["state"] for status, answer in answers if status == 200}
        (entry,) = (one for one in (await payments(shop))[1]["payments"] if one["session_id"] == session_id)
        (written,) = entry["resolutions"]
        assert entry["review_reason"] is None
        expected = ("refunded", "refund", 1) if decided == "refunded" else ("paid", "fulfil", 0)
        assert (entry["state"], written["action"], len(refunds(shop)) - before) == expected
        if kind == "order":
            await shop.service.sweeper.sweep()
            assert (shop.book.status_of(f"o{number}") == "paid") is (decided == "paid")


async def test_an_order_that_can_be_paid_by_now_takes_the_payment_when_it_is_fulfilled(shop: Shop) -> None:
    session_id = await order_in_review(shop)
    shop.book.orders["o1"]["status"] = "pending"
    status, answer = await resolve(shop, session_id, "fulfil")
    assert (status, answer["state"], answer["review_reason"]) == (200, "paid", None)
    assert shop.book.status_of("o1") == "paid"


@pytest.mark.parametrize("why", ["cancelled", "not there any more"])
async def test_an_order_that_does_not_take_the_payment_leaves_it_to_be_given_back(shop: Shop, why: str) -> None:
    session_id = await order_in_review(shop)
    if why != "cancelled":
        del shop.book.orders["o1"]
    for _ in range(2):
        status, answer = await resolve(shop, session_id, "fulfil")
        assert (status, answer["code"]) == (409, "order_not_payable")
        assert why in answer["error"]
    (entry,) = (await payments(shop, state="needs_review"))[1]["payments"]
    assert (entry["session_id"], entry["review_reason"], entry["resolutions"]) == (session_id, ORDER_REFUSED, [])
    assert (await resolve(shop, session_id, "refund"))[1]["state"] == "refunded"
    assert refunds(shop) == [4900]


async def test_an_order_that_refuses_after_the_decision_brings_the_payment_back_into_review(shop: Shop) -> None:
    session_id = await in_review(shop, {"order_id": shop.book.add("o1")}, user="ann")
    shop.book.is_down = True
    status, answer = await resolve(shop, session_id, "fulfil")
    assert (status, answer["state"]) == (200, "paid")
    shop.book.orders["o1"]["status"] = "cancelled"
    shop.book.is_down = False
    shop.ahead += timedelta(minutes=1)  # past the pause after the update that did not arrive

    async def is_back() -> bool:
        await shop.service.sweeper.sweep()
        return session_id in await listed(shop, "needs_review")

    await shop.until(is_back)
    assert (await shop.row(session_id)).review_reason == ORDER_REFUSED
    assert (await resolve(shop, session_id, "refund"))[1]["state"] == "refunded"


async def test_a_payment_whose_image_is_gone_can_only_be_given_back(shop: Shop) -> None:
    session_id, _ = await image_lost(shop)
    status, answer = await resolve(shop, session_id, "fulfil")
    assert (status, answer["code"]) == (409, "image_gone")
    assert "gone" in answer["error"]
    assert await listed(shop, "needs_review") == [session_id]
    assert (await resolve(shop, session_id, "refund"))[1]["state"] == "refunded"
    assert refunds(shop) == [200]
    assert await listed(shop, "refunded") == [session_id]
    assert (await shop.image(session_id))[1]["code"] == "payment_refunded"


async def by_call(shop: Shop, session_id: str) -> None:
    assert (await refund(shop, session_id=session_id))[0] == 200


async def by_parts(shop: Shop, session_id: str) -> None:
    assert (await refund(shop, session_id=session_id, amount=1))[0] == 200
    assert await listed(shop, "refunded") == []
    await by_call(shop, session_id)


async def by_dashboard(shop: Shop, session_id: str) -> None:
    intent = shop.ledger.require("checkout.session", session_id)["payment_intent"]
    async with shop.http.post(
        f"{shop.urls['stripe']}/v1/refunds",
        data={"payment_intent": intent},
        headers={"Authorization": "Bearer sk_test_dashboard"},
    ) as answer:
        assert answer.status == 200


WAYS = (by_call, by_parts, by_dashboard)


@pytest.mark.parametrize("way", WAYS)
async def test_a_payment_that_was_given_back_whole_shows_as_refunded(shop: Shop, way: Any) -> None:
    session_id, other = await paid(shop), await paid(shop)
    await way(shop, session_id)

    async def is_refunded() -> bool:
        return await listed(shop, "refunded") == [session_id]

    await shop.until(is_refunded)
    assert await listed(shop, "paid") == [other]
    states = {one["session_id"]: one["state"] for one in (await payments(shop))[1]["payments"]}
    assert states == {session_id: "refunded", other: "paid"}


@pytest.mark.parametrize("way", WAYS)
async def test_a_payment_that_was_given_back_whole_needs_no_review(shop: Shop, way: Any) -> None:
    image_id = await shop.upload(picture("blue"))
    session_id = await in_review(shop, {"imageId": image_id})
    await way(shop, session_id)

    async def is_refunded() -> bool:
        return await listed(shop, "refunded") == [session_id]

    await shop.until(is_refunded)
    assert await listed(shop, "needs_review") == []
    assert (await resolve(shop, session_id, "fulfil"))[1]["code"] == "not_in_review"
    assert refunds(shop) in ([2], [1, 1])

    async def is_let_go() -> bool:
        await shop.service.sweeper.sweep()
        return (await shop.row(session_id)).hold_until is None

    shop.ahead += (await shop.row(session_id)).expires_at - shop.now()
    await shop.until(is_let_go)
    assert not shop.promoted()
