"""Stripe's events: stored before they are acted on, acted on once, and only ever a hint to go and ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.checkout.adapters.sql.events import SqlEvents
from services.checkout.adapters.sql.refunds import SqlRefunds
from services.checkout.adapters.sql.sessions import SqlSessions
from services.checkout.adapters.stripe import StripePayments
from services.checkout.model.payments import WebhookEvent
from services.checkout.model.refusals import PaymentProviderUnavailable
from services.checkout.model.sessions import (
    CHARGED,
    Changes,
    CheckoutSession,
    State,
)
from services.checkout.service.create_session import CreateSession
from services.checkout.service.fulfilment import Fulfilment, provider_deadline
from shared.errors import KeepsakeError, Unavailable
from shared.log import get_logger

SESSION_EVENTS = frozenset(
    f"checkout.session.{name}" for name in ("completed", "async_payment_succeeded", "async_payment_failed", "expired")
)
REFUND_EVENTS = frozenset(
    {"charge.refunded", "charge.refund.updated", "refund.created", "refund.updated", "refund.failed"}
)
DISPUTE_EVENTS = frozenset(
    f"charge.dispute.{name}" for name in ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")
)
TRY_AGAIN = timedelta(seconds=5)


class UnknownRow(Unavailable):
    """A session that carries our mark, and no row of ours: Stripe is to tell us again."""


@dataclass(slots=True, kw_only=True)
class Webhooks:
    """Takes events that are verified."""

    sessions: SqlSessions
    events: SqlEvents
    refunds: SqlRefunds
    payments: StripePayments
    fulfilment: Fulfilment
    create_session: CreateSession
    site: str
    now: Callable[[], datetime]

    async def take(self, event: WebhookEvent) -> None:
        """Store the event and act on it; where that fails, the sweeper tries again. Raises Unavailable for an unknown row.

        An event that is not about a session of ours is taken and forgotten.
        """
        if event.account or not self._concerns_us(event):
            return
        if not await self.events.take(event, self.now()):
            return
        try:
            await self.act(event)
        except UnknownRow:
            raise
        except KeepsakeError as error:
            get_logger().warning("webhook_event_deferred", event_id=event.id, code=error.code)

    def _concerns_us(self, event: WebhookEvent) -> bool:
        if event.type in SESSION_EVENTS:
            return event.row_id is not None and event.site == self.site
        # Refunds and disputes made in the dashboard carry no mark of ours: the payment says whose they are.
        return event.type in REFUND_EVENTS | DISPUTE_EVENTS and event.payment_intent is not None

    async def act(self, event: WebhookEvent) -> None:
        """Do what a stored and claimed event asks for, and mark it done; put it off where that fails."""
        try:
            async with provider_deadline():
                await self._act(event)
        except KeepsakeError:
            await self.events.put_off(event.id, self.now() + TRY_AGAIN)
            raise
        await self.events.put_off(event.id, None)

    async def _act(self, event: WebhookEvent) -> None:
        if event.type in SESSION_EVENTS:
            await self._settle(event)
            return
        row = await self._row_of(event.payment_intent or "")
        if row is None:
            return
        if event.type in REFUND_EVENTS:
            await self.refunds.sync(row, await self.payments.refunds_of(event.payment_intent or ""), self.now())
        elif (dispute := await self.payments.dispute(event.object_id)) is not None:
            await self.refunds.record_dispute(row, dispute, self.now())
            get_logger().warning("payment_disputed", row=row.id, status=dispute.status)

    async def _settle(self, event: WebhookEvent) -> None:
        row = await self.sessions.get(event.row_id or "")
        if row is None:
            raise UnknownRow
        if row.session_id != event.object_id:
            seen = await self.payments.retrieve(event.object_id)
            if seen is None or seen.row_id != row.id:
                return
            if row.session_id is not None or row.state is not State.CREATING:
                await self._set_aside(row, paid=seen.payment_status == "paid")
                return
            row = await self.create_session.adopt(row, seen)
        await self.fulfilment.settle(row)

    async def _set_aside(self, row: CheckoutSession, *, paid: bool) -> None:
        """Note a payment of a session that no customer was given; without payment there is nothing to note."""
        if paid:
            get_logger().error("unknown_session_paid", row=row.id)
            await self.sessions.update(row, Changes(review_reason="Another session of this purchase was paid."))

    async def _row_of(self, payment_intent: str) -> CheckoutSession | None:
        """Return the charged row of a payment; None where the payment is not ours."""
        row = await self.sessions.find(payment_intent=payment_intent)
        if row is None:
            row_id, site = await self.payments.marks_of(payment_intent)
            if row_id is None or site != self.site:
                return None
            row = await self.sessions.get(row_id)
            if row is None:
                raise UnknownRow
            row = await self.fulfilment.settle(row)
        if row.state not in CHARGED:
            raise PaymentProviderUnavailable  # the event came before its payment: look again
        return row
