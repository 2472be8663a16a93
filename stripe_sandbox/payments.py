"""Pretend payments: paying, declining, settling late, refunding, disputing."""

from __future__ import annotations

from typing import Any

from stripe import Charge, PaymentIntent
from stripe.checkout import Session

from stripe_sandbox.currencies import format_amount, require_step
from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.objects import blank, make_id, new_charge, new_dispute, new_payment_intent, new_refund
from stripe_sandbox.sessions import contents_of, require_played
from stripe_sandbox.store import Object

DECLINED = "Your card was declined. Nothing was charged; you can try again."
PLAYED_REFUND = frozenset({"amount", "metadata", "payment_intent", "reason"})


def pay(ledger: Ledger, session_id: str, *, delayed: bool = False) -> Object:
    """Complete an open session; `delayed` leaves it unpaid until `settle`. Raise StripeError 409 or 410 if not open."""
    session = _require_open(ledger, session_id)
    intent = _attempt(ledger, session)
    charge = new_charge(intent, ledger.time(), status="pending")
    intent |= {"status": "processing", "latest_charge": charge["id"], "last_payment_error": None}
    session |= {"status": "complete", "url": None, "customer_details": _customer_of(session)}
    if delayed:
        ledger.emit("charge.pending", ledger.store.put(charge))
        ledger.emit("payment_intent.processing", ledger.store.put(intent))
    else:
        _collect(ledger, session, intent, charge)
    ledger.emit("checkout.session.completed", ledger.store.put(session))
    return session


def decline(ledger: Ledger, session_id: str) -> Object:
    """Fail an attempt to pay; the session stays open."""
    session = _require_open(ledger, session_id)
    _fail(ledger, _attempt(ledger, session))
    return ledger.store.put(session)


def settle(ledger: Ledger, session_id: str, *, succeeds: bool) -> Object:
    """Bring a delayed payment to its end; raise StripeError 409 where none is under way."""
    session = ledger.require("checkout.session", session_id)
    intent = ledger.store.get(session["payment_intent"] or "", "payment_intent")
    if session["status"] != "complete" or intent is None or intent["status"] != "processing":
        raise StripeError("No delayed payment is under way here.", status=409)
    charge = ledger.require("charge", intent["latest_charge"])
    if succeeds:
        _collect(ledger, session, intent, charge)
        ledger.emit("checkout.session.async_payment_succeeded", ledger.store.put(session))
    else:
        charge |= {"status": "failed", "failure_code": "payment_method_provider_decline", "failure_message": DECLINED}
        ledger.emit("charge.failed", ledger.store.put(charge))
        _fail(ledger, intent)
        ledger.emit("checkout.session.async_payment_failed", session)
    return session


def refund(ledger: Ledger, params: dict[str, Any], cause: Object) -> Object:
    """Give back all that is left of a charge, or a part of it."""
    require_played(params, PLAYED_REFUND)
    charge = _charge_to_refund(ledger, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["disputed"]:
        raise StripeError("This charge has been charged back.", code="charge_disputed", executed=True)
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise StripeError(message, code="charge_already_refunded", executed=True)
    amount = params.get("amount", left)
    if amount < 1:
        raise StripeError("Invalid positive integer", param="amount", code="parameter_invalid_integer")
    require_step(amount, charge["currency"], "amount")
    if amount > left:
        asked, rest = (format_amount(minor, charge["currency"]) for minor in (amount, left))
        message = f"Refund amount ({asked}) is greater than unrefunded amount on charge ({rest})"
        raise StripeError(message, param="amount", executed=True)
    made = new_refund(charge, amount, ledger.time(), metadata=params.get("metadata") or {}, reason=params.get("reason"))
    ledger.emit("refund.created", ledger.store.put(made), cause)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    ledger.emit("charge.refunded", ledger.store.put(charge), cause)
    made["destination_details"]["card"] |= {"reference": make_id("arn", 20), "reference_status": "available"}
    ledger.emit("refund.updated", ledger.store.put(made))
    return made


def fail_refund(ledger: Ledger, refund_id: str) -> Object:
    """Have a refund bounce, as banks do days later; its amount is back on the charge."""
    made = ledger.require("refund", refund_id)
    charge = ledger.require("charge", made["charge"])
    charge["amount_refunded"] -= made["amount"]
    charge["refunded"] = False
    ledger.emit("charge.updated", ledger.store.put(charge))
    made |= {"status": "failed", "failure_reason": "lost_or_stolen_card"}
    ledger.store.put(made)
    for kind in ("refund.updated", "refund.failed"):
        ledger.emit(kind, made)
    return made


def dispute(ledger: Ledger, charge_id: str) -> Object:
    charge = ledger.require("charge", charge_id)
    made = ledger.store.put(new_dispute(charge, ledger.time()))
    ledger.store.put(charge | {"disputed": True})
    ledger.emit("charge.dispute.created", made)
    return made


def _require_open(ledger: Ledger, session_id: str) -> Object:
    session = ledger.require("checkout.session", session_id)
    if session["status"] == "complete":
        raise StripeError("This session has been paid already. Nothing was charged again.", status=409)
    if session["status"] != "open":
        raise StripeError("This session has expired. Nothing was charged.", status=410)
    return session


def _attempt(ledger: Ledger, session: Object) -> Object:
    """Return the session's payment intent, made at the first attempt as Stripe does."""
    if session["payment_intent"]:
        return ledger.require("payment_intent", session["payment_intent"])
    data = {"metadata": {}, "receipt_email": session["customer_email"], **contents_of(ledger, session["id"])["intent"]}
    intent = new_payment_intent(session["amount_total"], session["currency"], ledger.time()) | data
    intent["payment_method"] = make_id("pm")
    session["payment_intent"] = intent["id"]
    ledger.emit("payment_intent.created", ledger.store.put(intent))
    return intent


def _collect(ledger: Ledger, session: Object, intent: Object, charge: Object) -> None:
    outcome = blank(Charge.Outcome, network_status="approved_by_network", risk_level="normal", type="authorized")
    charge |= {
        "status": "succeeded",
        "paid": True,
        "captured": True,
        "amount_captured": charge["amount"],
        "outcome": outcome,
    }
    intent |= {"status": "succeeded", "amount_received": intent["amount"]}
    session["payment_status"] = "paid"
    ledger.emit("charge.succeeded", ledger.store.put(charge))
    ledger.emit("payment_intent.succeeded", ledger.store.put(intent))


def _fail(ledger: Ledger, intent: Object) -> None:
    error = blank(
        PaymentIntent.LastPaymentError,
        code="card_declined",
        decline_code="generic_decline",
        message=DECLINED,
        type="card_error",
    )
    intent |= {"status": "requires_payment_method", "last_payment_error": error}
    ledger.emit("payment_intent.payment_failed", ledger.store.put(intent))


def _customer_of(session: Object) -> Object:
    email = session["customer_email"] or "customer@example.com"
    return blank(Session.CustomerDetails, email=email, tax_exempt="none", tax_ids=[])


def _charge_to_refund(ledger: Ledger, params: dict[str, Any]) -> Object:
    if "payment_intent" not in params:
        raise missing_param("payment_intent")
    intent = ledger.require("payment_intent", params["payment_intent"], param="payment_intent")
    charge = ledger.store.get(intent["latest_charge"] or "", "charge")
    if charge is None or not charge["paid"]:
        message = "This PaymentIntent does not have a successful charge to refund."
        raise StripeError(message, code="charge_not_refundable", executed=True)
    return charge
