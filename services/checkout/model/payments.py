"""What Stripe says, as far as checkout listens, and what it is asked to give back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

NOT_GIVEN_BACK = frozenset({"failed", "canceled", "refused"})  # refunds that took nothing


@dataclass(frozen=True, slots=True)
class ProviderSession:
    """What Stripe says of a session; `row_id` and `site` are the marks we put on it."""

    id: str
    status: str
    payment_status: str
    amount_total: int | None
    currency: str | None
    expires_at: datetime
    payment_intent: str | None
    payment_failed: bool
    row_id: str | None
    site: str | None
    client_secret: str | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    """Our row of a refund; `refund_id` is Stripe's. `asking` until Stripe answered."""

    id: str
    row_id: str
    refund_id: str | None
    amount: int
    currency: str
    reason: str | None
    status: str
    attempt: int


@dataclass(frozen=True, slots=True)
class ProviderRefund:
    """What Stripe says of a refund; `our_id` is the mark we put on it, None where the dashboard made it."""

    id: str
    our_id: str | None
    amount: int
    currency: str
    status: str


class Action(StrEnum):
    """What a person decides about a payment that needs review."""

    FULFIL = "fulfil"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class Resolution:
    """A decision: what, why it was needed (`reason`), by whom and when; `by` is a user's name, or `command:<account>`."""

    action: Action
    note: str
    reason: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Dispute:
    """What Stripe says of a dispute."""

    id: str
    payment_intent: str | None
    amount: int
    currency: str
    reason: str
    status: str


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A verified event: its id and type, and what says which of our rows it is about; `account` where it is another's."""

    id: str
    type: str
    object_id: str
    payment_intent: str | None = None
    row_id: str | None = None
    site: str | None = None
    account: str | None = None
