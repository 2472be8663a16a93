from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
import stripe

from stripe_sandbox.payments import dispute, fail_refund
from tests.support.stripe_sandbox import Sandbox, line_item


async def paid_session(sandbox: Sandbox, **changes: object) -> Any:
    session = await sandbox.create(**changes)
    assert (await sandbox.press(session.id, action="pay"))[0] == 303
    return await sandbox.client.v1.checkout.sessions.retrieve_async(session.id, {"expand": ["payment_intent"]})


async def test_the_first_page_lists_the_sessions_with_their_links(sandbox: Sandbox) -> None:
    session = await sandbox.create()
    page = await (await sandbox.http.get(sandbox.url)).text()
    assert f'href="/pay/{session.id}"' in page
    assert "no real money moves" in page


async def test_the_pay_page_shows_what_is_sold_and_has_three_buttons(sandbox: Sandbox) -> None:
    session = await sandbox.create(line_items=[line_item(1500, "kwd", 2)])
    answer = await sandbox.http.get(f"{sandbox.url}/pay/{session.id}")
    page = await answer.text()
    assert re.findall(r"<button[^>]*>(\w+)</button>", page) == ["Pay", "Decline", "Cancel"]
    assert "A board" in page
    assert "3.000 KWD" in page
    assert "no real money moves" in page
    assert "form-action" not in answer.headers["Content-Security-Policy"]


async def test_what_the_shop_says_is_escaped_on_the_page(sandbox: Sandbox) -> None:
    item = line_item()
    item["price_data"]["product_data"]["name"] = "<script>alert(1)</script>"
    session = await sandbox.create(line_items=[item])
    page = await (await sandbox.http.get(f"{sandbox.url}/pay/{session.id}")).text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


async def test_paying_completes_the_session_and_sends_the_browser_back(sandbox: Sandbox) -> None:
    session = await sandbox.create()
    status, location, _ = await sandbox.press(session.id, action="pay")
    assert (status, location) == (303, f"http://localhost:3000/hero-me?session_id={session.id}")
    for kind in ("checkout.session.completed", "payment_intent.succeeded", "charge.succeeded"):
        await sandbox.receiver.wait_for(kind)
    found = await sandbox.client.v1.checkout.sessions.retrieve_async(session.id, {"expand": ["payment_intent"]})
    assert (found.status, found.payment_status) == ("complete", "paid")
    assert (found.payment_intent.status, found.payment_intent.amount_received) == ("succeeded", 200)
    assert found.payment_intent.metadata.to_dict() == {"imageId": "0123456789abcdef0123456789abcdef"}
    charge = sandbox.ledger.require("charge", found.payment_intent.latest_charge)
    assert (charge["paid"], charge["amount"]) == (True, 200)
    listed = await sandbox.client.v1.checkout.sessions.list_async({"payment_intent": found.payment_intent.id})
    assert [one.id for one in listed.data] == [session.id]


@pytest.mark.parametrize("form", [{"action": "pay"}, {"Pay": ""}, {"button": "Pay"}])
async def test_the_button_may_be_sent_in_either_way(sandbox: Sandbox, form: dict[str, str]) -> None:
    assert (await sandbox.press((await sandbox.create()).id, **form))[0] == 303


async def test_the_shops_own_escapes_reach_the_browser_untouched(sandbox: Sandbox) -> None:
    url = "https://shop.example/a%2Fb/ü?next=%2Fdone%3Fx%3D1&id={CHECKOUT_SESSION_ID}#top"
    session = await sandbox.create(return_url=url)
    _, location, _ = await sandbox.press(session.id, action="pay")
    assert location == f"https://shop.example/a%2Fb/%C3%BC?next=%2Fdone%3Fx%3D1&id={session.id}#top"


async def test_of_fifty_payments_at_once_one_is_made(sandbox: Sandbox) -> None:
    session = await sandbox.create()
    answers = await asyncio.gather(*(sandbox.press(session.id, action="pay") for _ in range(50)))
    assert sorted(status for status, _, _ in answers) == [303] + [409] * 49
    assert (await sandbox.http.get(f"{sandbox.url}/pay/{session.id}")).status == 409
    assert [charge["paid"] for charge in sandbox.ledger.store.select("charge")] == [True]


async def test_a_declined_session_stays_open_and_can_be_paid(sandbox: Sandbox) -> None:
    session = await sandbox.create()
    status, _, page = await sandbox.press(session.id, action="decline")
    assert status == 200
    assert 'role="alert"' in page
    event = await sandbox.receiver.wait_for("payment_intent.payment_failed")
    assert event.data.object["last_payment_error"]["code"] == "card_declined"
    found = await sandbox.client.v1.checkout.sessions.retrieve_async(session.id)
    assert (found.status, found.payment_status) == ("open", "unpaid")
    assert (await sandbox.press(session.id, action="pay"))[0] == 303


async def test_cancelling_leaves_the_session_open(sandbox: Sandbox) -> None:
    embedded = await sandbox.create()
    status, location, page = await sandbox.press(embedded.id, action="cancel")
    assert (status, location) == (200, "")
    assert "cancelled" in page
    hosted = await sandbox.create(
        ui_mode="hosted_page",
        return_url=None,
        success_url="https://shop.example/ok",
        cancel_url="https://shop.example/no",
    )
    assert (await sandbox.press(hosted.id, action="cancel"))[:2] == (303, "https://shop.example/no")
    listed = await sandbox.client.v1.checkout.sessions.list_async()
    assert [one.status for one in listed.data] == ["open", "open"]


async def test_an_expired_or_unknown_session_cannot_be_paid(sandbox: Sandbox) -> None:
    session = await sandbox.create()
    sandbox.clock.ahead_s = 24 * 3600 + 1
    assert (await sandbox.press(session.id, action="pay"))[0] == 410
    assert (await sandbox.http.get(f"{sandbox.url}/pay/{session.id}")).status == 410
    assert (await sandbox.press("cs_test_none", action="pay"))[0] == 404


@pytest.mark.parametrize("form", [{}, {"action": "steal"}, {"action": "pay", "other": "decline"}])
async def test_a_form_without_one_choice_does_nothing(sandbox: Sandbox, form: dict[str, str]) -> None:
    session = await sandbox.create()
    assert (await sandbox.press(session.id, **form))[0] == 400
    assert (await sandbox.client.v1.checkout.sessions.retrieve_async(session.id)).status == "open"


@pytest.mark.parametrize(
    ("outcome", "payment_status", "kind"),
    [
        ("succeeded", "paid", "checkout.session.async_payment_succeeded"),
        ("failed", "unpaid", "checkout.session.async_payment_failed"),
    ],
)
async def test_a_delayed_payment_is_settled_once(
    sandbox: Sandbox, outcome: str, payment_status: str, kind: str
) -> None:
    session = await sandbox.create()
    assert (await sandbox.press(session.id, action="pay", method="delayed"))[0] == 303
    completed = await sandbox.receiver.wait_for("checkout.session.completed")
    assert completed.data.object["payment_status"] == "unpaid"
    url = f"{sandbox.url}/pay/{session.id}/settle"
    assert (await sandbox.http.post(url, data={"outcome": outcome})).status == 200
    assert (await sandbox.receiver.wait_for(kind)).data.object["payment_status"] == payment_status
    assert (await sandbox.http.post(url, data={"outcome": outcome})).status == 409
    assert (await sandbox.press(session.id, action="pay"))[0] == 409


async def test_refunds_are_made_until_nothing_is_left(sandbox: Sandbox) -> None:
    session = await paid_session(sandbox)
    refunds, intent = sandbox.client.v1.refunds, session.payment_intent
    part = await refunds.create_async({"payment_intent": intent.id, "amount": 50, "reason": "duplicate"})
    assert (part.status, part.amount, part.charge) == ("succeeded", 50, intent.latest_charge)
    with pytest.raises(stripe.InvalidRequestError) as too_much:
        await refunds.create_async({"payment_intent": intent.id, "amount": 151})
    assert too_much.value.param == "amount"
    rest = await refunds.create_async({"payment_intent": intent.id})
    assert rest.amount == 150
    with pytest.raises(stripe.InvalidRequestError) as nothing_left:
        await refunds.create_async({"payment_intent": intent.id})
    assert nothing_left.value.code == "charge_already_refunded"
    charge = sandbox.ledger.require("charge", intent.latest_charge)
    assert (charge["refunded"], charge["amount_refunded"]) == (True, 200)
    refunded = await sandbox.receiver.wait_for("charge.refunded", 2)
    assert refunded.request.id == rest.last_response.headers["Request-Id"]
    assert [one.id for one in (await refunds.list_async({"payment_intent": intent.id})).data] == [rest.id, part.id]


@pytest.mark.parametrize(
    ("form", "status", "param"),
    [
        ("", 400, "payment_intent"),
        ("payment_intent=pi_1", 404, "payment_intent"),
        ("charge=ch_1", 400, "charge"),
        ("payment_intent={pi}&amount=0", 400, "amount"),
        ("payment_intent={pi}&amount=5", 400, "amount"),
        ("payment_intent={pi}&reason=bored", 400, "reason"),
        ("payment_intent={pi}&charge=ch_1", 400, "charge"),
        ("payment_intent={pi}&origin=customer_balance", 400, "origin"),
    ],
)
async def test_a_refund_that_stripe_refuses_is_refused(
    sandbox: Sandbox, form: str, status: int, param: str | None
) -> None:
    session = await paid_session(sandbox, line_items=[line_item(1000, "kwd")])
    answer, body, _ = await sandbox.call("POST", "/v1/refunds", form.format(pi=session.payment_intent.id))
    assert (answer, body["error"].get("param")) == (status, param)


async def test_what_was_not_paid_or_is_disputed_cannot_be_refunded(sandbox: Sandbox) -> None:
    late = await sandbox.create()
    await sandbox.press(late.id, action="pay", method="delayed")
    late = await sandbox.client.v1.checkout.sessions.retrieve_async(late.id)
    with pytest.raises(stripe.InvalidRequestError):
        await sandbox.client.v1.refunds.create_async({"payment_intent": late.payment_intent})
    session = await paid_session(sandbox)
    dispute(sandbox.ledger, session.payment_intent.latest_charge)
    await sandbox.receiver.wait_for("charge.dispute.created")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await sandbox.client.v1.refunds.create_async({"payment_intent": session.payment_intent.id})
    assert refused.value.code == "charge_disputed"


async def test_a_refund_that_bounces_is_back_on_the_charge(sandbox: Sandbox) -> None:
    session = await paid_session(sandbox)
    refund = await sandbox.client.v1.refunds.create_async({"payment_intent": session.payment_intent.id})
    fail_refund(sandbox.ledger, refund.id)
    assert (await sandbox.receiver.wait_for("refund.failed")).data.object["status"] == "failed"
    again = await sandbox.client.v1.refunds.create_async({"payment_intent": session.payment_intent.id})
    assert again.amount == 200


async def test_events_are_listed_by_their_type(sandbox: Sandbox) -> None:
    await paid_session(sandbox)
    listed = await sandbox.client.v1.events.list_async({"type": "checkout.session.completed", "limit": 100})
    assert [event.type for event in listed.data] == ["checkout.session.completed"]
