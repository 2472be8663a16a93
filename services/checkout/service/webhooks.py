"""Stripe's events: stored before they are acted on, acted on once, and only ever a hint to go and ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.checkout.adapters.sql.refunds import SqlRefunds
from services.checkout.adapters.sql.sessions import SqlEvents, SqlSessions
from services.checkout.adapters.stripe import StripePayments
from services.checkout.model.payments import WebhookEvent
from services.checkout.model.refusals import PaymentProviderUnavailable
from services.checkout.model.sessions import (
    CHARGED,
    Changes,
    CheckoutSession,
    State,
)
from services.checkout.service.fulfilment import Fulfilment, provider_deadline
from services.checkout.service.session_opener import SessionOpener
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


@dataclass(slots=True)
class Webhooks:
    """Takes events that are verified."""

    sessions: SqlSessions
    events: SqlEvents
    refunds: SqlRefunds
    payments: StripePayments
    fulfilment: Fulfilment
    opener: SessionOpener
    site: str
    now: Callable[[], datetime]

    async def take(self, event: WebhookEvent) -> None:
        """Store the event and act on it; where that fails, the sweeper tries again. Raises Unavailable for an unknown row.

        An event that is not about a session of ours is taken and forgotten.
        """
        if event.type in SESSION_EVENTS:
            concerns_us = event.row_id is not None and event.site == self.site
        else:  # what was made in the dashboard carries no mark of ours: the payment says whose it is
            concerns_us = event.type in REFUND_EVENTS | DISPUTE_EVENTS and event.payment_intent is not None
        if event.account or not concerns_us or not await self.events.take(event, self.now()):
            return
        try:
            await self.act(event)
        except UnknownRow:
            raise
        except KeepsakeError as error:
            get_logger().warning("webhook_event_deferred", event_id=event.id, code=error.code)

    async def act(self, event: WebhookEvent) -> None:
        """Do what a stored and leased event asks for, and mark it done; put it off where that fails."""
        try:
            async with provider_deadline():
                await (self._settle if event.type in SESSION_EVENTS else self._look_at_payment)(event)
        except KeepsakeError:
            await self.events.put_off(event.id, self.now() + TRY_AGAIN)
            raise
        await self.events.put_off(event.id, None)

    async def _look_at_payment(self, event: WebhookEvent) -> None:
        row = await self._row_of(event.payment_intent or "")
        if row is None:
            return
        if event.type in REFUND_EVENTS:
            await self.refunds.sync(row, await self.payments.refunds_of(event.payment_intent or ""), self.now())
        elif (dispute := await self.payments.dispute(event.object_id)) is not None:
            await self.refunds.record_dispute(row, dispute, self.now())
            get_logger().warning("payment_disputed", row=row.id, status=dispute.status)

    async def _settle(self, event: WebhookEvent) -> None:
        row = await self.sessions.find(id=event.row_id)
        if row is None:
            raise UnknownRow
        if row.session_id != event.object_id:
            seen = await self.payments.retrieve(event.object_id)
            if seen is None or seen.row_id != row.id:
                return
            if row.session_id is not None or row.state is not State.CREATING:
                if seen.payment_status == "paid":  # somebody paid a session that we gave to nobody
                    get_logger().error("unknown_session_paid", row=row.id)
                    await self.sessions.update(row, Changes(review_reason="Another session of this purchase was paid."))
                return
            row = await self.opener.adopt(row, seen)
        await self.fulfilment.settle_alone(row)

    async def _row_of(self, payment_intent: str) -> CheckoutSession | None:
        """Return the charged row of a payment; None where the payment is not ours."""
        row = await self.sessions.find(payment_intent=payment_intent)
        if row is None:
            row_id, site = await self.payments.marks_of(payment_intent)
            if row_id is None or site != self.site:
                return None
            row = await self.sessions.find(id=row_id)
            if row is None:
                raise UnknownRow
            row = await self.fulfilment.settle(row)
        if row.state not in CHARGED:
            raise PaymentProviderUnavailable  # the event came before its payment: look again
        return row
