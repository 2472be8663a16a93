from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from services.checkout.app import reconcile
from tests.support.stack import ROOT
from tests.unit.services.checkout.shop import JSON, Shop, picture


async def in_review(shop: Shop, body: JSON | None = None, *, amount: int = 2, **options: Any) -> str:
    """Pay another amount than was asked for; return the session's id."""
    session_id = await shop.session(body or {}, **options)
    await shop.press(session_id)
    shop.ledger.store.put(shop.ledger.require("checkout.session", session_id) | {"amount_total": amount})
    intent = shop.ledger.require("checkout.session", session_id)["payment_intent"]
    charge = next(one for one in shop.ledger.store.select("charge") if one["payment_intent"] == intent)
    shop.ledger.store.put(charge | {"amount": amount, "amount_captured": amount})
    await shop.status(session_id, **options)
    assert await shop.has_state(session_id, "needs_review")
    return session_id


async def payments(shop: Shop, user: str | None = "admin", **params: str) -> tuple[int, Any]:
    return await shop.call("GET", "/api/admin/payments", params=params, user=user)


async def resolve(shop: Shop, session_id: str, action: str, user: str | None = "admin", **body: Any) -> tuple[int, Any]:
    path = f"/api/admin/payments/{session_id}/resolve"
    return await shop.call("POST", path, json={"action": action, **body}, user=user)


def refunds(shop: Shop) -> list[int]:
    return [made["amount"] for made in shop.ledger.store.select("refund")]


async def test_payments_are_listed_newest_first_page_by_page(shop: Shop) -> None:
    made = [await shop.session({"quantity": number}) for number in range(1, 6)][::-1]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        status, page = await payments(shop, limit="2", cursor=cursor)
        assert status == 200
        assert page["count"] == len(page["payments"]) <= 2
        seen += [one["session_id"] for one in page["payments"]]
        cursor = page["next_cursor"]
    assert seen == made
    newest = (await payments(shop, limit="1"))[1]["payments"][0]
    assert newest == {
        "session_id": made[0],
        "state": "open",
        "payment_status": "unpaid",
        "amount_total": 1000,
        "amount_refunded": 0,
        "currency": "usd",
        "sku": "hero-me-board",
        "quantity": 5,
        "order_id": None,
        "image": None,
        "created_at": newest["created_at"],
        "paid_at": None,
        "review_reason": None,
        "resolutions": [],
    }


async def test_payments_can_be_listed_by_their_state(shop: Shop) -> None:
    waiting, right, wrong = await shop.session({}), await shop.session({}), await in_review(shop)
    await shop.press(right)
    await shop.status(right)
    for state, expected in (("open", waiting), ("paid", right), ("needs_review", wrong), ("refunded", None)):
        _, page = await payments(shop, state=state)
        assert [one["session_id"] for one in page["payments"]] == ([] if expected is None else [expected])
    assert (await payments(shop, state="other"))[0] == 422
    for cursor in ("x", "a.b", "AAAA", "9" * 400):
        status, answer = await payments(shop, cursor=cursor)
        assert (status, answer["code"]) == (422, "invalid_cursor")
    assert (await payments(shop, limit="0"))[0] == 422


async def test_only_an_admin_sees_payments_and_decides(shop: Shop) -> None:
    session_id = await in_review(shop)
    for user, status in ((None, 401), ("ann", 403)):
        assert (await payments(shop, user))[0] == status
        assert (await resolve(shop, session_id, "fulfil", user))[0] == status
    assert await shop.has_state(session_id, "needs_review")


async def test_a_payment_that_is_fulfilled_gives_its_image_and_is_written_down(shop: Shop) -> None:
    session_id = await in_review(shop, {"imageId": await shop.upload()})
    status, answer = await resolve(shop, session_id, "fulfil", note="Agreed by telephone.")
    assert (status, answer["state"], answer["review_reason"]) == (200, "paid", None)
    assert (answer["amount_total"], answer["image"]["state"]) == (2, "promoted")
    (written,) = answer["resolutions"]
    assert (written["action"], written["note"], written["by"]) == ("fulfil", "Agreed by telephone.", "admin")
    assert written["reason"] == "The amount or currency that was paid is not what was asked for."
    assert written["at"].endswith("Z")
    assert await shop.image(session_id) == (200, picture())
    assert (await payments(shop))[1]["payments"] == [answer]
    for action in ("fulfil", "refund"):
        status, refused = await resolve(shop, session_id, action)
        assert (status, refused["code"]) == (409, "not_in_review")
    assert refunds(shop) == []


async def test_a_payment_that_is_given_back_keeps_its_image_from_everybody(shop: Shop) -> None:
    image_id = await shop.upload()
    session_id = await in_review(shop, {"imageId": image_id})
    note = "A wrong price.\r\n" + "\r\n" * 485  # 500 characters as a browser counts them
    status, answer = await resolve(shop, session_id, "refund", note=note)
    assert answer["resolutions"][0]["note"] == note
    assert (status, answer["state"], answer["amount_refunded"]) == (200, "refunded", 2)
    assert answer["image"]["state"] == "released"
    assert [(one["action"], one["by"]) for one in answer["resolutions"]] == [("refund", "admin")]
    assert refunds(shop) == [2]
    assert not await shop.is_held(image_id, session_id)
    assert not shop.promoted()
    assert (await shop.image(session_id))[1]["code"] == "payment_refunded"
    assert (await resolve(shop, session_id, "refund"))[1]["code"] == "not_in_review"
    assert refunds(shop) == [2]
    assert (await shop.status(session_id))[1]["status"] == "complete"
    assert await reconcile(shop.settings(), lambda _: None) == 0


@pytest.mark.parametrize(("action", "status"), [("fulfil", "paid"), ("refund", "pending")])
async def test_the_order_learns_what_was_decided(shop: Shop, action: str, status: str) -> None:
    order_id = shop.book.add("o1")
    session_id = await in_review(shop, {"order_id": order_id}, user="ann")
    assert shop.book.status_of(order_id) == "awaiting_payment"
    assert (await resolve(shop, session_id, action))[0] == 200
    await shop.until(lambda: shop.book.status_of(order_id) == status)
    if action == "refund":
        assert await shop.session({"order_id": order_id}, user="ann") != session_id
    else:
        assert (await shop.open({"order_id": order_id}, user="ann"))[0] == 409


async def test_what_was_given_back_in_parts_is_never_given_back_twice(shop: Shop) -> None:
    session_id = await in_review(shop, amount=500)
    path, part = "/api/checkout/refunds", {"session_id": session_id, "amount": 300}
    assert (await shop.call("POST", path, json=part, user="admin"))[0] == 200
    assert (await payments(shop, state="needs_review"))[1]["payments"][0]["amount_refunded"] == 300
    answers = await asyncio.gather(*(resolve(shop, session_id, "refund") for _ in range(10)))
    assert sorted({status for status, _ in answers}) == [200, 409]
    assert sorted(refunds(shop)) == [200, 300]
    assert (await shop.row(session_id)).refunded_amount == 500


async def test_who_overpaid_gets_the_rest_back_and_the_goods(shop: Shop) -> None:
    session_id = await in_review(shop, {"imageId": await shop.upload()}, amount=500)
    part = {"session_id": session_id, "amount": 300}
    assert (await shop.call("POST", "/api/checkout/refunds", json=part, user="admin"))[0] == 200
    assert (await resolve(shop, session_id, "fulfil"))[1]["image"]["state"] == "promoted"


async def test_of_two_decisions_at_once_one_counts(shop: Shop) -> None:
    for _ in range(5):
        session_id = await in_review(shop, {"imageId": await shop.upload()})
        before = len(refunds(shop))
        answers = await asyncio.gather(
            *(resolve(shop, session_id, action) for action in ("fulfil", "refund", "fulfil", "refund"))
        )
        made = [answer["state"] for status, answer in answers if status == 200]
        row = await shop.row(session_id)
        if row.state == "paid":
            assert (made, len(refunds(shop)) - before, row.image_state) == (["paid"], 0, "promoted")
        else:
            assert (set(made), len(refunds(shop)) - before, row.image_state) == ({"refunded"}, 1, "released")


async def test_a_refund_that_stripe_refuses_leaves_the_payment_in_review(shop: Shop) -> None:
    from stripe_sandbox.payments import dispute

    image_id = await shop.upload()
    session_id = await in_review(shop, {"imageId": image_id})
    with shop.ledger.store.transaction():
        dispute(shop.ledger, shop.charges()[0]["id"])
    status, answer = await resolve(shop, session_id, "refund")
    assert (status, answer["code"]) == (409, "payment_disputed")
    assert await shop.has_state(session_id, "needs_review")
    assert await shop.is_held(image_id, session_id)
    assert (await payments(shop))[1]["payments"][0]["resolutions"] == []


async def test_while_stripe_is_away_nothing_is_decided_and_the_same_can_be_asked_again(shop: Shop) -> None:
    session_id = await in_review(shop, {"imageId": await shop.upload()})
    await shop.stop("stripe")
    status, answer = await resolve(shop, session_id, "refund")
    assert (status, answer["code"]) == (503, "payment_provider_unavailable")
    assert await shop.has_state(session_id, "needs_review")
    # It is not known whether the money went back: the goods cannot be given as well.
    status, answer = await resolve(shop, session_id, "fulfil")
    assert (status, answer["code"]) == (409, "refund_under_way")
    await shop.start("stripe")
    assert (await resolve(shop, session_id, "refund"))[1]["state"] == "refunded"
    assert refunds(shop) == [2]


async def test_a_refund_that_bounces_needs_review_again(shop: Shop) -> None:
    from stripe_sandbox.payments import fail_refund

    session_id = await in_review(shop)
    assert (await resolve(shop, session_id, "refund"))[0] == 200
    with shop.ledger.store.transaction():
        fail_refund(shop.ledger, shop.ledger.store.select("refund")[0]["id"])

    async def is_back() -> bool:
        return bool((await payments(shop, state="needs_review"))[1]["payments"])

    await shop.until(is_back)
    assert (await resolve(shop, session_id, "fulfil"))[1]["code"] == "payment_refunded"
    status, answer = await resolve(shop, session_id, "refund")
    assert (status, answer["state"], answer["amount_refunded"]) == (200, "refunded", 2)
    assert len(answer["resolutions"]) == 2


async def test_a_paid_order_that_cannot_be_moved_needs_review_too(shop: Shop) -> None:
    order_id = shop.book.add("o1")
    session_id = await shop.session({"order_id": order_id}, user="ann")
    shop.book.orders[order_id]["status"] = "cancelled"
    await shop.press(session_id)

    async def is_listed() -> bool:
        return bool((await payments(shop, state="needs_review"))[1]["payments"])

    await shop.until(is_listed)
    assert (await payments(shop, state="paid"))[1]["payments"] == []
    status, answer = await resolve(shop, session_id, "refund", note="The customer changed her mind.")
    assert (status, answer["state"], answer["amount_refunded"], answer["review_reason"]) == (
        200,
        "refunded",
        4900,
        None,
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"action": "keep"}, 422),
        ({"action": None}, 422),
        ({"action": "fulfil", "note": "x" * 501}, 422),
        ({"action": "fulfil", "note": "a\x00"}, 422),
        ([], 400),
    ],
)
async def test_what_is_no_decision_is_refused(shop: Shop, body: Any, status: int) -> None:
    session_id = await in_review(shop)
    path = f"/api/admin/payments/{session_id}/resolve"
    assert (await shop.call("POST", path, json=body, user="admin"))[0] == status
    assert await shop.has_state(session_id, "needs_review")


async def test_what_needs_no_review_and_what_is_not_there_cannot_be_decided(shop: Shop) -> None:
    waiting, right = await shop.session({}), await shop.session({})
    await shop.press(right)
    await shop.status(right)
    for session_id, status in ((waiting, 409), (right, 409), ("cs_test_nobody", 404), ("nonsense", 404)):
        assert (await resolve(shop, session_id, "refund"))[0] == status
    assert refunds(shop) == []


@pytest.mark.long
async def test_the_command_decides_as_the_call_does(shop: Shop) -> None:
    session_id = await in_review(shop)
    settings = shop.settings()
    environment = {
        "PYTHONPATH": str(ROOT),
        "DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": settings.database_url,
        "JWT_SECRET_KEY": settings.jwt_secret_key,
        "INTERNAL_SECRET": settings.internal_secret,
        "PUBLIC_URL": settings.public_url,
        "STRIPE_API_BASE": settings.stripe_api_base,
        "STRIPE_WEBHOOK_SECRET": "whsec_first",
        "LOGNAME": "sam",
    }

    async def run(*arguments: str) -> tuple[int, str, str]:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.checkout", "resolve", *arguments],
            cwd=shop.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.splitlines()[-1] if done.stdout else "", done.stderr

    assert (await run(session_id, "refund", "--note", "By hand."))[:2] == (0, "given back")
    answer = (await payments(shop))[1]["payments"][0]
    assert (answer["state"], answer["resolutions"][0]["by"]) == ("refunded", "command:sam")
    code, _, said = await run(session_id, "refund")
    assert (code, said) == (1, "keepsake: This payment does not need review.\n")
    assert (await run(session_id, "keep"))[0] == 2
