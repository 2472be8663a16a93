"""Making a checkout session: what Stripe refuses is refused, what the sandbox cannot play is refused by name."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import urlsplit

from stripe.checkout import Session

from stripe_sandbox.currencies import MAXIMUM, require_currency, require_step, require_total
from stripe_sandbox.errors import StripeError, missing_param, no_such
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.objects import blank, make_id, new_line_item, new_price, new_product, new_session
from stripe_sandbox.store import Object

SHORTEST_S = 30 * 60
LONGEST_S = 24 * 3600
MAX_QUANTITY = 999_999
# What a session carries as it was sent.
ECHOED = frozenset(
    {
        "allow_promotion_codes",
        "billing_address_collection",
        "cancel_url",
        "client_reference_id",
        "customer_creation",
        "customer_email",
        "expires_at",
        "integration_identifier",
        "locale",
        "metadata",
        "origin_context",
        "redirect_on_completion",
        "return_url",
        "submit_type",
        "success_url",
        "ui_mode",
    }
)
ECHOED_OBJECTS = {
    "adaptive_pricing": Session.AdaptivePricing,
    "custom_text": Session.CustomText,
    "phone_number_collection": Session.PhoneNumberCollection,
}
PLAYED = ECHOED | ECHOED_OBJECTS.keys() | {"currency", "expand", "line_items", "mode", "payment_intent_data"}
PLAYED_INTENT = frozenset(
    {
        "capture_method",
        "description",
        "metadata",
        "receipt_email",
        "statement_descriptor",
        "statement_descriptor_suffix",
    }
)
PLAYED_LINE = frozenset({"metadata", "price", "price_data", "quantity"})
EMBEDDED = frozenset({"embedded_page", "elements", "form"})


def create_session(ledger: Ledger, params: dict[str, Any], base_url: str) -> Object:
    """Make an open session with its line items; `base_url` is where its pay page is."""
    require_played(params, PLAYED)
    if "mode" not in params:
        raise missing_param("mode")
    if params["mode"] != "payment":
        raise StripeError("The Stripe sandbox plays `payment` mode alone.", param="mode")
    ui_mode = params.get("ui_mode", "hosted_page")
    _check_urls(params, ui_mode)
    created = ledger.time()
    expires_at = _check_expiry(params.get("expires_at"), created)
    intent_data = params.get("payment_intent_data", {})
    require_played(intent_data, PLAYED_INTENT, "payment_intent_data")
    if intent_data.get("capture_method") == "manual":
        raise StripeError("The Stripe sandbox captures at once.", param="payment_intent_data[capture_method]")
    lines = _make_lines(params.get("line_items") or [], created, params.get("currency"))
    currency, total = lines[0]["currency"], sum(line["amount_total"] for line in lines)
    require_total(total, currency)

    session = new_session(
        amount_subtotal=total,
        amount_total=total,
        created=created,
        currency=currency,
    )
    session |= {"ui_mode": ui_mode, "metadata": {}, **{name: params[name] for name in ECHOED & params.keys()}}
    session["expires_at"] = expires_at
    for name in ECHOED_OBJECTS.keys() & params.keys():
        given = {key: value or None for key, value in params[name].items()} if name == "custom_text" else params[name]
        session[name] = blank(ECHOED_OBJECTS[name], **given)
    if ui_mode in EMBEDDED:
        session["client_secret"] = make_id(f"{session['id']}_secret", 60)
        if ui_mode == "embedded_page":
            session["redirect_on_completion"] = params.get("redirect_on_completion", "always")
    else:
        session["url"] = f"{base_url}/pay/{session['id']}"
    ledger.store.put(session)
    ledger.store.put({"id": _intent_data_id(session), "object": "payment_intent_data", "data": intent_data})
    for line in lines:
        product = line.pop("made_product")
        ledger.store.put(product)
        ledger.store.put(line["price"])
        ledger.store.put(line, parent=session["id"])
    return session


def intent_data_of(ledger: Ledger, session: Object) -> Object:
    """Return what the session's payment intent is to carry."""
    data: Object = ledger.require("payment_intent_data", _intent_data_id(session))["data"]
    return {"metadata": {}, **data}


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


def _intent_data_id(session: Object) -> str:
    return f"{session['id']}/payment_intent_data"


def _check_urls(params: dict[str, Any], ui_mode: str) -> None:
    embedded = ui_mode in EMBEDDED
    for name in ("success_url", "cancel_url") if embedded else ("return_url", "redirect_on_completion"):
        if name in params:
            raise StripeError(f"`{name}` is not supported with `ui_mode: {ui_mode}`.", param=name)
    never = params.get("redirect_on_completion") == "never"
    if never and "return_url" in params:
        raise StripeError("You cannot set `return_url` if `redirect_on_completion` is `never`.", param="return_url")
    required = "return_url" if embedded else "success_url"
    if required not in params and not never:
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


def _make_lines(items: list[dict[str, Any]], created: int, currency: str | None) -> list[Object]:
    if not items:
        raise missing_param("line_items")
    lines = [_make_line(item, f"line_items[{position}]", created) for position, item in enumerate(items)]
    wanted = require_currency(currency, "currency") if currency else lines[0]["currency"]
    for position, line in enumerate(lines):
        if line["currency"] != wanted:
            path = f"line_items[{position}][price_data][currency]"
            raise StripeError("All line items of a Checkout Session must have one currency.", param=path)
    return lines


def _make_line(item: dict[str, Any], path: str, created: int) -> Object:
    require_played(item, PLAYED_LINE, path)
    if "price" in item:
        raise no_such("price", item["price"], param=f"{path}[price]", status=400)
    if "price_data" not in item:
        raise missing_param(f"{path}[price_data]")
    quantity = item.get("quantity")
    if quantity is None:
        raise missing_param(f"{path}[quantity]")
    if not 1 <= quantity <= MAX_QUANTITY:
        message = f"This value must be greater than or equal to 1 and at most {MAX_QUANTITY}."
        raise StripeError(message, param=f"{path}[quantity]", code="parameter_invalid_integer")
    data, path = item["price_data"], f"{path}[price_data]"
    currency = require_currency(data["currency"], f"{path}[currency]")
    unit = _unit_amount(data, path, currency)
    product = _make_product(data, path, created)
    price = new_price(
        created,
        currency,
        product["id"],
        tax_behavior=data.get("tax_behavior", "unspecified"),
        unit_amount=int(unit) if unit == int(unit) else None,
        unit_amount_decimal=str(data.get("unit_amount_decimal", unit)),
    )
    amount = int((unit * quantity).quantize(Decimal(1), ROUND_HALF_UP))
    line = new_line_item(amount, price, quantity, description=product["name"], metadata=item.get("metadata", {}))
    return line | {"made_product": product}


def _unit_amount(data: dict[str, Any], path: str, currency: str) -> Decimal:
    given = [name for name in ("unit_amount", "unit_amount_decimal") if name in data]
    if len(given) > 1:
        message = "You may only specify one of these parameters: unit_amount, unit_amount_decimal."
        raise StripeError(message, param=f"{path}[{given[1]}]")
    if not given:
        raise missing_param(f"{path}[unit_amount]")
    param = f"{path}[{given[0]}]"
    unit = Decimal(data[given[0]])
    if unit < 0:
        raise StripeError("Invalid non-negative integer", param=param, code="parameter_invalid_integer")
    if unit > MAXIMUM:
        raise StripeError(f"Amount must be no more than {MAXIMUM}.", param=param, code="amount_too_large")
    if unit == int(unit):
        require_step(int(unit), currency, param)
    return unit


def _make_product(data: dict[str, Any], path: str, created: int) -> Object:
    if "recurring" in data:
        raise StripeError("You cannot use recurring prices in `payment` mode.", param=f"{path}[recurring]")
    if ("product" in data) == ("product_data" in data):
        raise StripeError("You must specify exactly one of `product` and `product_data`.", param=path)
    if "product" in data:
        raise no_such("product", data["product"], param=f"{path}[product]", status=400)
    given = data["product_data"]
    return new_product(
        created,
        given["name"],
        description=given.get("description"),
        images=given.get("images", []),
        metadata=given.get("metadata", {}),
        tax_code=given.get("tax_code"),
        unit_label=given.get("unit_label"),
    )
