"""Wire types of checkout."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from services.checkout.model.catalogue import DEFAULT_CURRENCY
from shared.errors import FieldError, NotAllowedValue
from shared.parsing import PlainText, QueryModel, WireModel

PRICES = frozenset({"price", "unit_amount", "amount", "price_data", "return_url"})


class SessionRequest(WireModel):
    """What a shop asks for; prices and addresses are ours to say."""

    imageId: str | None = None  # noqa: N815 - the wire's own name
    sku: str | None = None
    quantity: int = 1
    currency: str = DEFAULT_CURRENCY
    order_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_prices(cls, body: Any) -> Any:
        refuse_prices(body)
        return body


class SessionAnswer(WireModel):
    """An open session, for Stripe's embedded form."""

    client_secret: str
    session_id: str
    expires_at: str
    publishable_key: str


class StatusQuery(QueryModel):
    """Which session."""

    session_id: str


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


class RefundRequest(WireModel):
    """What to give back; `amount` in minor units, all that is left where there is none."""

    session_id: str | None = None
    order_id: str | None = None
    amount: Annotated[int, Field(ge=1)] | None = None
    reason: Annotated[PlainText, Field(max_length=500)] | None = None


class RefundAnswer(WireModel):
    """A refund."""

    refund_id: str
    status: str
    amount: int
    currency: str
    session_id: str


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
