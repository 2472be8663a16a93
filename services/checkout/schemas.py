"""Wire types of checkout."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, create_model, model_validator

from services.checkout.model.catalogue import DEFAULT_CURRENCY, Catalogue, Purpose
from services.checkout.model.payments import Action
from services.checkout.model.sessions import State
from shared.errors import FieldError, NotAllowedValue
from shared.http.validation import Matching, MaxChars, PlainText, QueryModel, WireModel

SESSION_ID_SCHEMA = "^cs_(test|live)_[A-Za-z0-9]{1,200}$"
PRICES = frozenset({"price", "unit_amount", "amount", "price_data", "return_url"})


def _whole(value: Any) -> Any:
    """Take `9.0` for 9, as JSON Schema does: some clients know one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]


def _image_id(value: Any) -> Any:
    """Treat what is not a string as a malformed id: no image has it, so the answer is the same."""
    return value if value is None or isinstance(value, str) else ""


ImageId = Annotated[str | None, BeforeValidator(_image_id)]


def _given(name: str) -> dict[str, Any]:
    """Return the JSON schema of objects that say something else than null about `name`."""
    return {"required": [name], "properties": {name: {"type": "string"}}}


def _describe_request(schema: dict[str, Any]) -> None:
    """Add what the fields' types do not say: no prices, and either an order or what is made from an image."""
    schema["properties"] |= dict.fromkeys(sorted(PRICES), False)
    schema["not"] = {"allOf": [_given("order_id"), {"anyOf": [_given("imageId"), _given("sku")]}]}


class SessionRequest(WireModel):
    """What a shop asks for; prices and addresses are ours to say."""

    model_config = ConfigDict(json_schema_extra=_describe_request)

    imageId: ImageId = None  # noqa: N815 - the wire's own name
    sku: str | None = None
    quantity: Whole = 1
    currency: str = DEFAULT_CURRENCY
    order_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_prices(cls, body: Any) -> Any:
        refuse_prices(body)
        return body


class SessionAnswer(WireModel):
    """An open session, for Stripe's embedded form, or for the sandbox's page at `pay_url`."""

    client_secret: str
    session_id: str
    expires_at: str
    publishable_key: str
    pay_url: str | None


class StatusQuery(QueryModel):
    """Which session."""

    session_id: Annotated[str, Field(json_schema_extra={"pattern": SESSION_ID_SCHEMA})]  # malformed is a 400, not a 422


class ImageAnswer(WireModel):
    """Where the bought image is."""

    state: Literal["held", "promoted", "released"]
    url: str | None


class StatusAnswer(WireModel):
    """How a session stands."""

    status: Literal["open", "complete", "expired"]
    metadata: dict[str, str]
    payment_status: str
    amount_total: int
    currency: str
    order_id: str | None
    image: ImageAnswer | None


def _describe_refund(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [_given("session_id"), _given("order_id")]
    schema["properties"]["amount"] = {"type": "integer", "minimum": 1}


class RefundRequest(WireModel):
    """What to give back; `amount` in minor units, all that is left where there is none."""

    model_config = ConfigDict(json_schema_extra=_describe_refund)

    session_id: str | None = None
    order_id: str | None = None
    amount: Annotated[Whole, Field(ge=1)] | None = None
    reason: Annotated[str, MaxChars(500), Matching(r"[^\x00]*", "must not contain a NUL character")] | None = None


class RefundAnswer(WireModel):
    """A refund."""

    refund_id: str
    status: str
    amount: int
    currency: str
    session_id: str


class PaymentsQuery(QueryModel):
    """Which payments."""

    state: State | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: PlainText | None = None


class ResolutionEntry(WireModel):
    """A decision about a payment that needed review, for that `reason`; `by` is who made it."""

    action: Action
    note: str
    reason: str
    by: str
    at: str


class PaymentEntry(WireModel):
    """A checkout session as the shop's owner sees it; amounts in minor units, `review_reason` where it needs review."""

    session_id: str
    state: State
    payment_status: str
    amount_total: int
    amount_refunded: int
    currency: str
    sku: str
    quantity: int
    order_id: str | None
    image: ImageAnswer | None
    created_at: str
    paid_at: str | None
    review_reason: str | None
    resolutions: list[ResolutionEntry]


class PaymentsAnswer(WireModel):
    """Payments, newest first; `next_cursor` where more remain."""

    payments: list[PaymentEntry]
    count: int
    next_cursor: str | None


class ResolveRequest(WireModel):
    """What is decided about a payment that needs review, and why."""

    action: Annotated[Action, Field(strict=False)]
    note: Annotated[PlainText, MaxChars(500)] = ""


class WebhookAnswer(WireModel):
    """The event is taken."""

    received: bool


def refuse_prices(value: Any) -> None:
    """Raise NotAllowedValue where a body, however deep, names what only the catalogue and the settings may say."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            for name in item.keys() & PRICES:
                error = FieldError(name, "is never taken from a request")
                raise NotAllowedValue("Prices come from the catalogue alone.", "price_not_allowed", errors=(error,))
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def request_of(catalogue: Catalogue) -> type[SessionRequest]:
    """Return the request's model with what OpenAPI says of it: the products and currencies that there are."""
    products = [product for product in catalogue.products.values() if product.purpose is Purpose.IMAGE]
    currencies: list[Any] = sorted({currency for product in catalogue.products.values() for currency in product.prices})
    most = max(product.max_quantity for product in catalogue.products.values())
    skus: list[Any] = [*(product.sku for product in products), None]
    return create_model(
        "SessionRequest",
        __base__=SessionRequest,
        sku=Annotated[str | None, Field(None, json_schema_extra={"enum": skus})],
        quantity=Annotated[Whole, Field(1, json_schema_extra={"minimum": 1, "maximum": most})],
        currency=Annotated[str, Field(DEFAULT_CURRENCY, json_schema_extra={"enum": currencies})],
    )
