"""Making a checkout session: what Stripe refuses is refused, what the sandbox cannot play is refused by name."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from stripe_sandbox.currencies import MAXIMUM, require_step, require_total
from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.objects import make_id, new_line_item, new_price, new_session
from stripe_sandbox.store import Object

SHORTEST_S = 30 * 60
LONGEST_S = 24 * 3600
MAX_QUANTITY = 999_999
CURRENCY = re.compile(r"[a-z]{3}")
# What a session carries as it was sent.
ECHOED = frozenset(
    {"cancel_url", "client_reference_id", "customer_email", "metadata", "return_url", "success_url", "ui_mode"}
)
PLAYED = ECHOED | {"expires_at", "line_items", "mode", "payment_intent_data"}
PLAYED_INTENT = frozenset({"description", "metadata"})
PLAYED_LINE = frozenset({"price_data", "quantity"})
PLAYED_PRICE = frozenset({"currency", "product_data", "unit_amount"})
# By ui_mode, the address that must be there and those that must not.
ADDRESSES = {
    "embedded_page": ("return_url", ("success_url", "cancel_url")),
    "hosted_page": ("success_url", ("return_url",)),
}


def create_session(ledger: Ledger, params: dict[str, Any], base_url: str) -> Object:
    """Make an open session with its line items; `base_url` is where its pay page is."""
    require_played(params, PLAYED)
    if "mode" not in params:
        raise missing_param("mode")
    if params["mode"] != "payment":
        raise StripeError("The Stripe sandbox plays `payment` mode alone.", param="mode")
    ui_mode = params.get("ui_mode", "hosted_page")
    _check_addresses(params, ui_mode)
    created = ledger.time()
    expires_at = _check_expiry(params.get("expires_at"), created)
    intent_data = params.get("payment_intent_data", {})
    require_played(intent_data, PLAYED_INTENT, "payment_intent_data")
    lines = _make_lines(params.get("line_items") or [], created)
    currency, total = lines[0]["currency"], sum(line["amount_total"] for line in lines)
    require_total(total, currency)
    session = new_session(amount_subtotal=total, amount_total=total, created=created, currency=currency)
    session |= {"metadata": {}, **{name: params[name] for name in ECHOED & params.keys()}}
    session |= {"expires_at": expires_at, "ui_mode": ui_mode}
    if ui_mode == "embedded_page":
        session["client_secret"] = make_id(f"{session['id']}_secret", 60)
        session["redirect_on_completion"] = "always"
    else:
        session["url"] = f"{base_url}/pay/{session['id']}"
    ledger.store.put({"id": _contents_id(session["id"]), "object": "contents", "lines": lines, "intent": intent_data})
    return ledger.store.put(session)


def contents_of(ledger: Ledger, session_id: str) -> Object:
    """Return the `lines` of a session, and what its payment `intent` is to carry."""
    ledger.require("checkout.session", session_id, param="session")
    return ledger.require("contents", _contents_id(session_id))


def expire_session(ledger: Ledger, session_id: str, cause: Object) -> Object:
    """Expire an open session; raise StripeError for one that is not open any more."""
    session = ledger.require("checkout.session", session_id, param="session")
    if session["status"] != "open":
        raise StripeError(
            'Only Checkout Sessions with a status in ["open"] can be expired.'
            f" This Checkout Session has a status of {session['status']}.",
            executed=True,
        )
    return ledger.expire(session, cause)


def require_played(params: dict[str, Any], played: frozenset[str], path: str = "") -> None:
    """Refuse parameters that Stripe would act on and the sandbox cannot."""
    for name in params:
        if name not in played:
            param = f"{path}[{name}]" if path else name
            raise StripeError(f"The Stripe sandbox does not play `{param}`.", param=param)


def _contents_id(session_id: str) -> str:
    return f"{session_id}/contents"


def _check_addresses(params: dict[str, Any], ui_mode: str) -> None:
    if ui_mode not in ADDRESSES:
        raise StripeError(f"The Stripe sandbox does not play `ui_mode: {ui_mode}`.", param="ui_mode")
    required, refused = ADDRESSES[ui_mode]
    for name in refused:
        if name in params:
            raise StripeError(f"`{name}` is not supported with `ui_mode: {ui_mode}`.", param=name)
    if required not in params:
        raise missing_param(required)
    for name in ("return_url", "success_url", "cancel_url"):
        if name in params and not _is_absolute(params[name]):
            raise StripeError("Not a valid URL", param=name, code="url_invalid")


def _is_absolute(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and named and all(c.isprintable() and c not in ' \\"<>' for c in url)


def _check_expiry(asked: int | None, created: int) -> int:
    if asked is None:
        return created + LONGEST_S
    if asked < created + SHORTEST_S:
        message = "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation."
        raise StripeError(message, param="expires_at")
    if asked > created + LONGEST_S:
        message = "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation."
        raise StripeError(message, param="expires_at")
    return asked


def _make_lines(items: list[dict[str, Any]], created: int) -> list[Object]:
    if not items:
        raise missing_param("line_items")
    lines = [_make_line(item, f"line_items[{position}]", created) for position, item in enumerate(items)]
    for position, line in enumerate(lines):
        if line["currency"] != lines[0]["currency"]:
            message = "All line items must have the same currency."
            raise StripeError(message, param=f"line_items[{position}][price_data][currency]")
    return lines


def _make_line(item: dict[str, Any], path: str, created: int) -> Object:
    require_played(item, PLAYED_LINE, path)
    for name in ("price_data", "quantity"):
        if name not in item:
            raise missing_param(f"{path}[{name}]")
    quantity, price, param = item["quantity"], item["price_data"], f"{path}[price_data]"
    if not 1 <= quantity <= MAX_QUANTITY:
        message = f"This value must be greater than or equal to 1 and at most {MAX_QUANTITY}."
        raise StripeError(message, param=f"{path}[quantity]", code="parameter_invalid_integer")
    require_played(price, PLAYED_PRICE, param)
    for name in ("product_data", "unit_amount"):
        if name not in price:
            raise missing_param(f"{param}[{name}]")
    currency, amount = price["currency"].lower(), price["unit_amount"]
    if not CURRENCY.fullmatch(currency):
        raise StripeError("Invalid currency: three letters.", param=f"{param}[currency]")
    if not 0 <= amount <= MAXIMUM:
        code = "parameter_invalid_integer" if amount < 0 else "amount_too_large"
        raise StripeError(f"Amount must be from 0 to {MAXIMUM}.", param=f"{param}[unit_amount]", code=code)
    require_step(amount, currency, f"{param}[unit_amount]")
    made = new_price(created, currency, amount)
    return new_line_item(amount * quantity, made, quantity, description=price["product_data"]["name"], metadata={})
