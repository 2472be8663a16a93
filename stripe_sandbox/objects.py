"""Stripe's objects as the API writes them: every member that the installed SDK's types name, null where nothing is known."""

from __future__ import annotations

import secrets
import string
from functools import cache
from typing import Any

import stripe
from stripe import Charge, Dispute, Event, LineItem, PaymentIntent, Price, Refund
from stripe.checkout import Session

from stripe_sandbox.store import Object

ALPHABET = string.ascii_letters + string.digits
# Written only where they are asked for, or where they apply.
LEFT_OUT: dict[Any, frozenset[str]] = {
    Session: frozenset({"line_items"}),
    Charge: frozenset({"refunds", "source"}),
    Price: frozenset({"currency_options", "deleted", "tiers"}),
    Event: frozenset({"account", "context"}),
}


def make_id(prefix: str, length: int = 24) -> str:
    return f"{prefix}_{''.join(secrets.choice(ALPHABET) for _ in range(length))}"


@cache
def members(kind: Any) -> tuple[str, ...]:
    """Return the names of what an object of the SDK's class `kind` carries."""
    left_out = LEFT_OUT.get(kind, frozenset())
    return tuple(name for name in kind.__annotations__ if not name.isupper() and name not in left_out)


def blank(kind: Any, **known: Any) -> Object:
    """Return an object of the SDK's class `kind` with what is known, and null for the rest."""
    made: Object = dict.fromkeys(members(kind))
    if "object" in made:
        made["object"] = kind.OBJECT_NAME
    if "livemode" in made:
        made["livemode"] = False
    return made | known


def list_of(data: list[Object], url: str, *, has_more: bool = False) -> Object:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def new_session(**known: Any) -> Object:
    return blank(
        Session,
        id=make_id("cs_test", 58),
        automatic_tax=blank(Session.AutomaticTax, enabled=False),
        custom_fields=[],
        custom_text=blank(Session.CustomText),
        mode="payment",
        payment_method_collection="if_required",
        payment_method_options={},
        payment_method_types=["card"],
        payment_status="unpaid",
        shipping_options=[],
        status="open",
        total_details=blank(Session.TotalDetails, amount_discount=0, amount_shipping=0, amount_tax=0),
        **known,
    )


def new_price(created: int, currency: str, unit_amount: int) -> Object:
    return blank(
        Price,
        id=make_id("price"),
        active=False,
        billing_scheme="per_unit",
        created=created,
        currency=currency,
        metadata={},
        product=make_id("prod", 14),
        tax_behavior="unspecified",
        type="one_time",
        unit_amount=unit_amount,
        unit_amount_decimal=str(unit_amount),
    )


def new_line_item(amount: int, price: Object, quantity: int, **known: Any) -> Object:
    """Return a line of a session; `amount` in minor units, for all of its quantity."""
    return blank(
        LineItem,
        id=make_id("li"),
        amount_discount=0,
        amount_subtotal=amount,
        amount_tax=0,
        amount_total=amount,
        currency=price["currency"],
        discounts=[],
        price=price,
        quantity=quantity,
        taxes=[],
        **known,
    )


def new_payment_intent(amount: int, currency: str, created: int, **known: Any) -> Object:
    """Return the payment intent of a session, not paid yet."""
    identifier = make_id("pi")
    return blank(
        PaymentIntent,
        id=identifier,
        amount=amount,
        amount_capturable=0,
        amount_details={"tip": {}},
        amount_received=0,
        capture_method="automatic_async",
        client_secret=make_id(f"{identifier}_secret"),
        confirmation_method="automatic",
        created=created,
        currency=currency,
        payment_method_options={},
        payment_method_types=["card"],
        status="requires_payment_method",
        **known,
    )


def new_charge(intent: Object, created: int, **known: Any) -> Object:
    """Return the charge of a payment intent, by a pretend card."""
    card = blank(
        Charge.PaymentMethodDetails.Card, brand="visa", country="US", exp_month=12, exp_year=2099, funding="credit",
        last4="4242", network="visa",
    )  # fmt: skip
    details = blank(Charge.BillingDetails, address=blank(Charge.BillingDetails.Address), email=intent["receipt_email"])
    return blank(
        Charge,
        id=make_id("ch"),
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        billing_details=details,
        captured=False,
        created=created,
        currency=intent["currency"],
        description=intent["description"],
        disputed=False,
        fraud_details={},
        metadata=intent["metadata"],
        paid=False,
        payment_intent=intent["id"],
        payment_method=intent["payment_method"],
        payment_method_details={"type": "card", "card": card},
        receipt_email=intent["receipt_email"],
        refunded=False,
        statement_descriptor=intent["statement_descriptor"],
        statement_descriptor_suffix=intent["statement_descriptor_suffix"],
        **known,
    )


def new_refund(charge: Object, amount: int, created: int, **known: Any) -> Object:
    card = {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}
    return blank(
        Refund,
        id=make_id("re"),
        amount=amount,
        charge=charge["id"],
        created=created,
        currency=charge["currency"],
        destination_details={"type": "card", "card": card},
        payment_intent=charge["payment_intent"],
        status="succeeded",
        **known,
    )


def new_dispute(charge: Object, created: int) -> Object:
    """Return a dispute over the whole of a charge."""
    return blank(
        Dispute,
        id=make_id("du"),
        amount=charge["amount"],
        balance_transactions=[],
        charge=charge["id"],
        created=created,
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence=blank(Dispute.Evidence, enhanced_evidence={}),
        evidence_details=blank(
            Dispute.EvidenceDetails,
            enhanced_eligibility={},
            due_by=created + 7 * 86400,
            has_evidence=False,
            past_due=False,
            submission_count=0,
            submission_method="not_submitted",
        ),
        is_charge_refundable=False,
        metadata={},
        payment_intent=charge["payment_intent"],
        reason="fraudulent",
        status="needs_response",
    )


def new_event(kind: str, thing: Object, created: int, request: Object) -> Object:
    return blank(
        Event,
        id=make_id("evt"),
        api_version=stripe.api_version,
        created=created,
        data={"object": thing},
        pending_webhooks=1,
        request=request,
        type=kind,
    )
