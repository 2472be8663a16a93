from __future__ import annotations

import inspect
import json
from types import GenericAlias
from typing import Any

import pytest
import stripe
from stripe.params import RefundCreateParams
from stripe.params.checkout import SessionCreateParams

from stripe_sandbox.api import OPERATIONS
from stripe_sandbox.parameters import fields_of
from stripe_sandbox.payments import PLAYED_REFUND, dispute, fail_refund
from stripe_sandbox.sessions import PLAYED, PLAYED_INTENT, PLAYED_LINE
from tests.support.stripe_sandbox import Sandbox, line_item, session_params
from tests.support.stripe_types import KINDS, faults_of


def kind_of(thing: dict[str, Any]) -> Any:
    if thing["object"] == "list":
        return GenericAlias(stripe.ListObject, KINDS[thing["data"][0]["object"]])
    return KINDS[thing["object"]]


async def answers_of(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Walk through everything the sandbox can do, and return every kind of answer it gives."""
    client = sandbox.client.v1
    everything = {
        "customer_email": "buyer@example.com",
        "client_reference_id": "42",
        "line_items": [line_item(), line_item(100, quantity=3)],
    }
    made = [await client.checkout.sessions.create_async(session_params(**everything))]
    hosted = session_params(ui_mode=None, return_url=None, success_url="https://shop.example/done")
    made.append(await client.checkout.sessions.create_async(hosted))
    made.append(await client.checkout.sessions.expire_async(made[1].id))
    await sandbox.press(made[0].id, action="decline")
    made.append(await client.checkout.sessions.retrieve_async(made[0].id, {"expand": ["payment_intent"]}))
    await sandbox.press(made[0].id, action="pay")
    paid = await client.checkout.sessions.retrieve_async(made[0].id, {"expand": ["payment_intent"]})
    for outcome in ("succeeded", "failed"):
        late = await sandbox.create()
        await sandbox.press(late.id, action="pay", method="delayed")
        await sandbox.http.post(f"{sandbox.url}/pay/{late.id}/settle", data={"outcome": outcome})
    refund = await client.refunds.create_async(
        {"payment_intent": paid.payment_intent.id, "amount": 50, "reason": "requested_by_customer"}
    )
    fail_refund(sandbox.ledger, refund.id)
    disputed = dispute(sandbox.ledger, paid.payment_intent.latest_charge)["id"]
    made += [
        paid,
        refund,
        await client.refunds.list_async({"payment_intent": paid.payment_intent.id}),
        await client.disputes.retrieve_async(disputed),
        await client.payment_intents.retrieve_async(paid.payment_intent.id),
        await client.checkout.sessions.line_items.list_async(paid.id),
        await client.checkout.sessions.list_async(),
        await client.events.list_async({"limit": 100}),
    ]
    return [json.loads(str(thing)) for thing in made]


async def test_every_answer_and_every_event_is_as_the_sdk_types_have_it(sandbox: Sandbox) -> None:
    answers = await answers_of(sandbox)
    events = next(answer for answer in answers if answer.get("url") == "/v1/events")
    assert {event["type"] for event in events["data"]} >= {
        "charge.dispute.created",
        "charge.failed",
        "charge.pending",
        "charge.refunded",
        "charge.succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.completed",
        "checkout.session.expired",
        "payment_intent.created",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.succeeded",
        "refund.created",
        "refund.failed",
        "refund.updated",
    }
    answers += [event["data"]["object"] for event in events["data"]]
    assert [fault for answer in answers for fault in faults_of(answer, kind_of(answer))] == []


@pytest.mark.parametrize(
    ("played", "params"),
    [
        (PLAYED, SessionCreateParams),
        (PLAYED_LINE, stripe.params.checkout.SessionCreateParamsLineItem),
        (PLAYED_INTENT, stripe.params.checkout.SessionCreateParamsPaymentIntentData),
        (PLAYED_REFUND, RefundCreateParams),
    ],
)
def test_every_parameter_played_is_one_of_the_sdk(played: frozenset[str], params: type) -> None:
    assert played <= fields_of(params).keys()


def test_every_operation_has_a_parameter_type_of_the_sdk() -> None:
    for operation in OPERATIONS:
        assert inspect.isclass(operation.params)
        params: Any = operation.params
        assert fields_of(params)


async def test_an_answer_that_lacks_a_member_or_has_one_too_many_is_noticed(sandbox: Sandbox) -> None:
    answer = json.loads(str(await sandbox.create()))
    assert faults_of({name: answer[name] for name in answer if name != "created"}, stripe.checkout.Session) == [
        "$.created is missing"
    ]
    assert faults_of(answer | {"surprise": 1}, stripe.checkout.Session) == ["$.surprise is not in the SDK"]
    assert faults_of(answer | {"expires_at": "soon"}, stripe.checkout.Session) == ["$.expires_at is str, not int"]
    assert faults_of(answer | {"status": "other"}, stripe.checkout.Session) == [
        "$.status is none of the values allowed"
    ]
