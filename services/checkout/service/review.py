"""Payments as the shop's owner sees them, and what is decided about those that need review."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from services.checkout.adapters.http import HttpOrders, HttpTempImages
from services.checkout.adapters.sql.resolutions import SqlResolutions
from services.checkout.adapters.sql.sessions import SqlSessions
from services.checkout.model.payments import Action, Resolution
from services.checkout.model.refusals import image_gone, not_in_review, order_refuses
from services.checkout.model.sessions import (
    HOLD_AHEAD,
    LOOK_SOON,
    PAYABLE_ORDERS,
    Changes,
    CheckoutSession,
    ImageState,
    State,
    given_back_changes,
    order_update_for,
)
from services.checkout.service.fulfilment import Fulfilment
from services.checkout.service.outbox import Outbox
from services.checkout.service.refunds import Refunds
from shared.errors import Conflict, DependencyDown
from shared.http.cursors import Position
from shared.log import get_logger


@dataclass(frozen=True, slots=True)
class PaymentsPage:
    """Some payments, newest first, with what was decided about them, by our row's id; where the next page begins."""

    rows: Sequence[CheckoutSession]
    resolutions: Mapping[str, Sequence[Resolution]]
    following: Position | None


@dataclass(slots=True)
class Review:
    """Looks through payments, and carries out decisions: once, whatever dies meanwhile."""

    sessions: SqlSessions
    resolutions: SqlResolutions
    refunds: Refunds
    fulfilment: Fulfilment
    outbox: Outbox
    orders: HttpOrders
    images: HttpTempImages
    now: Callable[[], datetime]
    on_change: Callable[[], None]

    async def page(self, state: State | None, after: Position | None, limit: int) -> PaymentsPage:
        """Return up to `limit` payments of that state, or of all."""
        rows = await self.sessions.page(state, after, limit + 1)
        shown = rows[:limit]
        following = Position(shown[-1].created_at, shown[-1].id) if len(rows) > limit else None
        return PaymentsPage(shown, await self.resolutions.of([row.id for row in shown]), following)

    async def resolve(self, session_id: str, action: Action, *, note: str, by: str) -> PaymentsPage:
        """Fulfil the payment as if it were right, or give back all that is left of it; return it alone.

        Raises NotFound, Conflict for one that needs no review (`not_in_review`) or cannot be decided so,
        PaymentProviderUnavailable and PaymentProviderRefused: then nothing is decided, and it can be asked again.
        """
        row = await self.fulfilment.require_row_of_session(session_id)
        if not row.needs_review:
            raise not_in_review()
        resolution = Resolution(action, note, row.review_reason or "", by, self.now())
        if action is Action.FULFIL:
            await self._fulfil(row, resolution)
        else:
            await self._refund(row, resolution)
        get_logger().info("payment_resolved", row=row.id, action=action)
        self.on_change()
        if action is Action.FULFIL and row.order_waits and row.order_id is not None:
            with suppress(DependencyDown):  # the sweeper goes on with it
                await self.outbox.drain(row.order_id)
        row = await self.fulfilment.settle(await self.fulfilment.require_row(row.id))
        return PaymentsPage([row], await self.resolutions.of([row.id]), None)

    async def _fulfil(self, row: CheckoutSession, resolution: Resolution) -> None:
        if row.state is State.REFUNDED:
            raise Conflict("This payment was given back, and cannot be fulfilled.", "payment_refunded")
        await self._require_givable(row)
        changes = Changes(state=State.PAID, review_reason=None, checks=0)
        if row.hold_until is not None:
            changes["next_check_at"] = self.now() + LOOK_SOON
        if row.image_state is ImageState.LOST:
            changes["image_state"] = ImageState.HELD if row.hold_until is not None else ImageState.RELEASED
        update = order_update_for(row, "paid", "Paid at checkout, and looked at.")
        await self.resolutions.record(row, resolution, changes, update)

    async def _require_givable(self, row: CheckoutSession) -> None:
        """Raise Conflict where what was bought can not be given: its order does not take the payment, or its image is gone."""
        if row.order_waits:
            with suppress(DependencyDown):  # the order says so later, and the payment comes back into review
                order = await self.orders.find(row.order_id or "")
                if order is None or order["status"] not in PAYABLE_ORDERS | {"paid"}:
                    raise order_refuses(None if order is None else order["status"])
        if row.image_id is not None and row.image_state is not ImageState.PROMOTED:
            until = self.now() + HOLD_AHEAD
            if row.hold_until is None or not await self.images.hold(row.image_id, row.id, until):
                raise image_gone()

    async def _refund(self, row: CheckoutSession, resolution: Resolution) -> None:
        """Give back first: a crash after it leaves a payment in review, of which the same decision gives back no more."""
        if row.charged_amount:
            await self.refunds.give_back(row, None, resolution.note or None)
        await self.resolutions.record(row, resolution, given_back_changes(row, self.now()), None)
