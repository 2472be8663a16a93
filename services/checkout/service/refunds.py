"""Giving money back: decided under our row's lock, asked for with a key of its own, known however it was made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from services.checkout.adapters.sql.refunds import SqlRefunds
from services.checkout.adapters.sql.sessions import SqlSessions
from services.checkout.adapters.stripe import StripePayments
from services.checkout.model.catalogue import STEPS
from services.checkout.model.payments import ProviderRefund, Refund
from services.checkout.model.refusals import (
    PaymentProviderRefused,
    PaymentProviderUnavailable,
    refund_too_large,
    unknown_order,
)
from services.checkout.model.sessions import (
    CHARGED,
    ORDER_ID,
    CheckoutSession,
    State,
)
from services.checkout.service.fulfilment import Fulfilment, provider_deadline
from shared.errors import Conflict, NotAllowedValue


@dataclass(slots=True)
class Refunds:
    """Refunds sessions, whole or in parts."""

    sessions: SqlSessions
    refunds: SqlRefunds
    payments: StripePayments
    fulfilment: Fulfilment
    now: Callable[[], datetime]
    on_change: Callable[[], None]

    async def refund(
        self, *, session_id: str | None, order_id: str | None, amount: int | None, reason: str | None
    ) -> tuple[CheckoutSession, Refund]:
        """Give back `amount` minor units, or all that is left; until it is `answered`, asking again is answered with the same.

        Raises NotFound, Conflict (`not_paid`), NotAllowedValue for more than is left, PaymentProviderUnavailable.
        """
        async with provider_deadline():
            row = await self._charged(session_id, order_id)
            return await self.give_back(row, amount, reason, ends_review=True)

    async def give_back(
        self, row: CheckoutSession, amount: int | None, reason: str | None, *, ends_review: bool = False
    ) -> tuple[CheckoutSession, Refund]:
        """Do so for a charged row; raise Conflict where somebody decided about the row meanwhile.

        With `ends_review` the payment needs none once all is given back; who decides a review writes its end down itself.
        """
        async with provider_deadline():
            if (amount or 0) > (row.charged_amount or 0):
                raise refund_too_large()
            if amount is not None and amount % STEPS.get(row.charged_currency or "", 1):
                raise NotAllowedValue.of(
                    "amount", "amount: the currency is not paid in such small steps.", "amount_not_allowed"
                )
            refund = await self.refunds.reserve(row, amount, reason, self.now())
            if refund.status == "asking" or refund.refund_id is None:
                seen = await self._ask(row, refund)
                row = await self.refunds.sync(row, [seen], self.now(), ends_review=ends_review)
                self.on_change()
                refund = replace(refund, refund_id=seen.id, status=seen.status)
        return row, refund

    async def _charged(self, session_id: str | None, order_id: str | None) -> CheckoutSession:
        if order_id is not None:
            rows = await self.sessions.of_order(order_id) if ORDER_ID.fullmatch(order_id) else ()
            if not rows:
                raise unknown_order()
            row = next((row for row in rows if row.state in CHARGED), rows[0])
        else:
            row = await self.fulfilment.require_row_of_session(session_id or "")
        if row.state in {State.OPEN, State.PROCESSING}:
            row = await self.fulfilment.settle(row)
        if row.state not in CHARGED:
            raise Conflict("This session is not paid.", "not_paid")
        return row

    async def _ask(self, row: CheckoutSession, refund: Refund) -> ProviderRefund:
        try:
            return await self.payments.refund(row, refund)
        except PaymentProviderUnavailable as error:
            if not error.replayed:
                raise
        except PaymentProviderRefused as error:
            await self._give_up(row, refund, error)
        # Stripe repeats a remembered failure for a day, and cannot say whether the money moved: its list of refunds can.
        for seen in await self.payments.refunds_of(row.payment_intent or ""):
            if seen.our_id == refund.id:
                return seen
        refund = await self.refunds.next_attempt(refund)
        try:
            return await self.payments.refund(row, refund)
        except PaymentProviderRefused as error:
            await self._give_up(row, refund, error)
            raise

    async def _give_up(self, row: CheckoutSession, refund: Refund, error: PaymentProviderRefused) -> None:
        """Find out why Stripe refuses, which may know of refunds and disputes that we do not know of yet, and say so."""
        seen = await self.payments.refunds_of(row.payment_intent or "")
        row = await self.refunds.sync(row, seen, self.now(), refused=refund.id)
        if refund.amount > (row.charged_amount or 0) - row.refunded_amount:
            raise refund_too_large() from error
        if error.refusal == "charge_disputed":
            raise Conflict("The payment is disputed, and cannot be refunded.", "payment_disputed") from error
        raise error
