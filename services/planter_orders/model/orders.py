"""An order, the states it may be in, and what happened to it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import uuid4

from services.planter_orders.model.photos import Photo
from shared.errors import Conflict, NotFound

ORDER_ID = re.compile(r"[0-9a-f]{32}\Z")


class Status(StrEnum):
    """Where an order stands."""

    PENDING = "pending"
    AWAITING_PAYMENT = "awaiting_payment"
    PAID = "paid"
    IN_PRODUCTION = "in_production"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


MOVES: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.AWAITING_PAYMENT, Status.PAID, Status.CANCELLED}),
    # Back to pending: its payment session expired.
    Status.AWAITING_PAYMENT: frozenset({Status.PENDING, Status.PAID, Status.CANCELLED}),
    Status.PAID: frozenset({Status.IN_PRODUCTION, Status.REFUNDED}),
    Status.IN_PRODUCTION: frozenset({Status.SHIPPED, Status.REFUNDED}),
    Status.SHIPPED: frozenset({Status.DELIVERED, Status.REFUNDED}),
    Status.DELIVERED: frozenset({Status.REFUNDED}),
    Status.CANCELLED: frozenset(),
    Status.REFUNDED: frozenset(),
}
NOT_PAID = frozenset({Status.PENDING, Status.AWAITING_PAYMENT})
NOT_SHIPPED = NOT_PAID | {Status.PAID, Status.IN_PRODUCTION}
DELETABLE = frozenset({Status.PENDING, Status.AWAITING_PAYMENT, Status.CANCELLED, Status.REFUNDED})
UNPAID = DELETABLE - {Status.REFUNDED}
DONE = frozenset({Status.SHIPPED, Status.DELIVERED, Status.REFUNDED})  # nobody needs the photos any more


class IllegalMove(Conflict):
    """The order cannot go from where it is to where it was asked to."""

    def __init__(self, current: Status, target: Status) -> None:
        """Name both: they are words of ours."""
        super().__init__(f"An order that is {current} cannot become {target}.", "illegal_move")


class OrderPaid(Conflict):
    """The order is paid, and stays."""

    def __init__(self) -> None:
        super().__init__("This order is paid and cannot be deleted. Please ask for a refund first.", "order_paid")


class PaymentUnderWay(OrderPaid):
    """The order is being paid, and stays."""

    def __init__(self) -> None:
        Conflict.__init__(
            self, "A payment of this order is on its way. Please wait until it has arrived or failed.", "order_paid"
        )


class PhotoFixed(Conflict):
    """The photo stays as it is."""

    def __init__(self, status: Status) -> None:
        super().__init__(
            f"The order is {status}: this photo cannot be changed any more."
            if status not in NOT_SHIPPED
            else f"The order is {status}: this photo can be changed once the shop asks for another one.",
            "photo_fixed",
        )


def require_replaceable(status: Status, *, is_requested: bool) -> None:
    """Raise PhotoFixed unless the customer may send another photo: before paying, or when asked for one until it ships."""
    if status not in (NOT_SHIPPED if is_requested else NOT_PAID):
        raise PhotoFixed(status)


def require_requestable(status: Status) -> None:
    """Raise PhotoFixed unless another photo would still be of use."""
    if status not in NOT_SHIPPED:
        raise PhotoFixed(status)


def require_move(current: Status, target: Status) -> None:
    """Raise IllegalMove unless `target` may follow `current`; to stay is no move."""
    if target not in MOVES[current]:
        raise IllegalMove(current, target)


def require_deletable(status: Status) -> None:
    """Raise OrderPaid unless an order that is `status` may go."""
    if status not in DELETABLE:
        raise OrderPaid


class OrderNotFound(NotFound):
    """There is no such order, or it is another person's."""

    def __init__(self) -> None:
        """Use one sentence for both."""
        super().__init__("Order not found")


@dataclass(frozen=True, slots=True)
class Order:
    """An order; `version` rises with each change, `last_event_id` is that of its present status."""

    id: str
    user_id: str
    pet_name: str | None
    pet_type: str | None
    notes: str | None
    created_at: datetime
    photos: tuple[Photo, ...]
    status: Status = Status.PENDING
    last_event_id: int = 0
    version: int = 1


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """One change of an order's status; `id` rises within an order."""

    id: int
    order_id: str
    status: Status
    at: datetime
    note: str | None


class PhotoChange(StrEnum):
    """What happened to a photo; one that is checked has its thumbnail and its quality."""

    CHECKED = "checked"
    REQUESTED = "requested"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class PhotoEvent:
    """One change of a photo; its `id` rises with those of the status."""

    id: int
    order_id: str
    filename: str
    what: PhotoChange
    at: datetime


OrderEvent = StatusEvent | PhotoEvent


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders a listing has; both ends of the time belong to it, `pet_name` is a part of it in any case."""

    user_id: str | None = None
    status: Status | None = None
    since: datetime | None = None
    until: datetime | None = None
    pet_name: str | None = None
    has_open_request: bool = False
    is_warned: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """What there is to do: orders by status, the order that has been paid for longest and since when, open requests."""

    orders: Mapping[Status, int]
    oldest_paid: tuple[str, datetime] | None
    photo_requests: int
    pending_deliveries: int
    failed_deliveries: int


def folded(name: str) -> str:
    """Return a name as it is searched: two spellings that differ in case, or in how accents are encoded, are one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def new_order_id() -> str:
    """Return an id that nobody can guess."""
    return uuid4().hex


def require_order_id(text: str) -> str:
    """Return `text`, or raise OrderNotFound: no order has a malformed id."""
    if ORDER_ID.match(text) is None:
        raise OrderNotFound
    return text
