"""The states of an order, and the only moves between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from shared.errors import Conflict


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
        """Say what can be done."""
        super().__init__("This order is paid and cannot be deleted. Please ask for a refund first.", "order_paid")


class PaymentUnderWay(OrderPaid):
    """The order is being paid, and stays."""

    def __init__(self) -> None:
        """Say what to wait for."""
        Conflict.__init__(
            self, "A payment of this order is on its way. Please wait until it has arrived or failed.", "order_paid"
        )


def require_move(current: Status, target: Status) -> None:
    """Raise IllegalMove unless `target` may follow `current`; to stay is no move."""
    if target not in MOVES[current]:
        raise IllegalMove(current, target)


def require_deletable(status: Status) -> None:
    """Raise OrderPaid unless an order that is `status` may go."""
    if status not in DELETABLE:
        raise OrderPaid
