"""What a checkout session is and how it moves, decided without asking anybody."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, TypedDict

from services.checkout.model.catalogue import Cart
from services.checkout.model.payments import ProviderSession

SESSION_ID = re.compile(r"cs_(test|live)_[A-Za-z0-9]{1,200}")
IMAGE_ID = re.compile(r"[0-9a-f]{32}")
ORDER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
HOLD_AFTER_EXPIRY = timedelta(hours=2)
HOLD_AHEAD = timedelta(hours=24)  # for as long as nobody knows how a payment ends, or where a person must look
IMAGE_SHOWN_FOR = timedelta(hours=24)
PAYABLE_ORDERS = frozenset({"pending", "awaiting_payment"})
ORDER_REFUSED = "Paid, but the order does not take the payment."  # why such a payment needs review
LOOK_SOON = timedelta(seconds=5)  # who moves a row also acts; the sweeper comes after a crash


class State(StrEnum):
    """Where a session stands; it moves forward alone."""

    CREATING = "creating"  # our row is there; whether Stripe knows the session is not certain
    OPEN = "open"
    PROCESSING = "processing"  # the customer is done, the money is still on its way
    EXPIRED = "expired"
    FAILED = "failed"
    ABANDONED = "abandoned"  # never reached a customer
    NEEDS_REVIEW = "needs_review"  # paid, but not what was asked for: nothing is fulfilled until a person looked
    PAID = "paid"
    REFUNDED = "refunded"  # needed review and was given back whole: nothing was fulfilled


RANK = {
    State.CREATING: 0,
    State.OPEN: 1,
    State.PROCESSING: 2,
    State.EXPIRED: 3,
    State.FAILED: 3,
    State.ABANDONED: 3,
    State.NEEDS_REVIEW: 4,
    State.PAID: 4,
    State.REFUNDED: 5,
}
LIVE = frozenset({State.CREATING, State.OPEN, State.PROCESSING})
CHARGED = frozenset({State.PAID, State.NEEDS_REVIEW, State.REFUNDED})


class ImageState(StrEnum):
    """Where the image of a session is."""

    NONE = "none"
    HELD = "held"
    PROMOTED = "promoted"
    RELEASED = "released"
    LOST = "lost"  # paid, but temp-image does not have it: the reconciler lists these


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutSession:
    """Our row of a session; `id` is ours, `session_id` Stripe's, amounts are minor units, times aware UTC.

    `reuse_key` is what may have one live session at a time. `hold_until` is set while temp-image may hold the image for us.
    `next_check_at` is when the sweeper looks at it again.
    """

    id: str
    state: State
    sku: str
    name: str
    description: str
    quantity: int
    unit_amount: int
    currency: str
    created_at: datetime
    expires_at: datetime
    attempt: int = 0
    reuse_key: str | None = None
    image_id: str | None = None
    order_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    client_secret: str | None = None
    payment_status: str = "unpaid"
    payment_intent: str | None = None
    charged_amount: int | None = None
    charged_currency: str | None = None
    refunded_amount: int = 0
    paid_at: datetime | None = None
    image_state: ImageState = ImageState.NONE
    image_key: str | None = None
    image_type: str | None = None
    hold_until: datetime | None = None
    review_reason: str | None = None
    next_check_at: datetime | None = None
    checks: int = 0

    @property
    def amount_total(self) -> int:
        return self.unit_amount * self.quantity

    @property
    def is_settled(self) -> bool:
        return RANK[self.state] >= 3

    @property
    def is_given_back(self) -> bool:
        return self.charged_amount is not None and self.refunded_amount >= self.charged_amount

    @property
    def needs_review(self) -> bool:
        """Whether a person is to look at the payment: it is not what was asked for, or what was bought cannot be given."""
        return self.state in CHARGED and self.review_reason is not None

    @property
    def shown_state(self) -> State:
        """The state as the shop's owner sees it: what needs review, and what was given back whole, whatever it was before."""
        if self.needs_review:
            return State.NEEDS_REVIEW
        if self.state is State.PAID and self.charged_amount and self.is_given_back:
            return State.REFUNDED
        return self.state

    @property
    def order_waits(self) -> bool:
        """Whether the payment needs review, and its order has not taken it."""
        return self.order_id is not None and (self.state is State.NEEDS_REVIEW or self.review_reason == ORDER_REFUSED)

    @property
    def needs_fulfilment(self) -> bool:
        """Whether the image has still to be promoted, or its hold to be released."""
        return self.hold_until is not None and self.is_settled and self.state is not State.NEEDS_REVIEW

    @property
    def status(self) -> Literal["open", "complete", "expired"]:
        """The session's status in Stripe's words."""
        if self.state in {State.CREATING, State.OPEN}:
            return "open"
        return "expired" if self.state in {State.EXPIRED, State.ABANDONED} else "complete"


class Changes(TypedDict, total=False):
    """Columns of a row that change together."""

    state: State
    attempt: int
    reuse_key: str | None
    expires_at: datetime
    session_id: str | None
    client_secret: str | None
    payment_status: str
    payment_intent: str | None
    charged_amount: int | None
    charged_currency: str | None
    refunded_amount: int
    paid_at: datetime | None
    image_state: ImageState
    image_key: str | None
    image_type: str | None
    hold_until: datetime | None
    review_reason: str | None
    next_check_at: datetime | None
    checks: int


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """A status that an order is to take because of a session; `event_id` makes it happen once."""

    event_id: str
    order_id: str
    status: str
    note: str


def reuse_key_of(cart: Cart, image_id: str | None, order_id: str | None) -> str | None:
    """Return what makes two requests the same purchase; None where each is one of its own."""
    if order_id is not None:
        return f"order:{order_id}"
    if image_id is None:
        return None
    content = "\n".join((image_id, cart.product.sku, str(cart.quantity), cart.currency))
    return f"image:{hashlib.sha256(content.encode()).hexdigest()}"


def order_update_for(row: CheckoutSession, status: str, note: str) -> OrderUpdate | None:
    """Return the update of the row's order, if it sells one."""
    if row.order_id is None:
        return None
    return OrderUpdate(f"{row.id}:{row.attempt}:{status}", row.order_id, status, note)


def given_back_changes(row: CheckoutSession, now: datetime) -> Changes:
    """Return how a row leaves review once all of its payment is given back."""
    changes = Changes(review_reason=None, checks=0)
    if row.state is State.NEEDS_REVIEW or row.image_state is ImageState.LOST or row.review_reason == ORDER_REFUSED:
        changes["state"] = State.REFUNDED
    if row.image_state is ImageState.LOST:
        changes["image_state"] = ImageState.HELD if row.hold_until is not None else ImageState.RELEASED
    if row.hold_until is not None:
        changes["next_check_at"] = now + LOOK_SOON
    return changes


def _outcome(row: CheckoutSession, seen: ProviderSession) -> State:
    if seen.status == "expired":
        return State.EXPIRED
    if seen.status != "complete":
        return State.OPEN
    if seen.payment_status == "unpaid":
        return State.FAILED if seen.payment_failed else State.PROCESSING
    if seen.payment_status == "paid" and (seen.amount_total, seen.currency) == (row.amount_total, row.currency):
        return State.PAID
    return State.NEEDS_REVIEW


def judge(row: CheckoutSession, seen: ProviderSession, now: datetime) -> tuple[Changes, OrderUpdate | None] | None:
    """Decide how the row moves after what Stripe said of its session; None where it stays (it never moves back)."""
    state = _outcome(row, seen)
    if RANK[state] <= RANK[row.state]:
        return None
    changes = Changes(state=state, payment_status=seen.payment_status, payment_intent=seen.payment_intent, checks=0)
    changes["next_check_at"] = now + LOOK_SOON
    if state in CHARGED:
        changes |= Changes(paid_at=now, charged_amount=seen.amount_total, charged_currency=seen.currency)
    if state is State.NEEDS_REVIEW:
        changes["review_reason"] = "The amount or currency that was paid is not what was asked for."
    if state is not State.PROCESSING:
        changes["client_secret"] = None
    notes = {State.PAID: ("paid", "Paid at checkout."), State.EXPIRED: ("pending", "The payment session expired.")}
    notes[State.FAILED] = ("pending", "The payment failed.")
    update = order_update_for(row, *notes[state]) if state in notes else None
    return changes, update
