"""Bringing our row to what Stripe says, and doing what a payment or an expiry asks for: once, whoever asks first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from services.checkout.adapters.http import HttpTempImages
from services.checkout.adapters.sql.sessions import SqlSessions
from services.checkout.adapters.stripe import StripePayments
from services.checkout.model.payments import ProviderSession
from services.checkout.model.refusals import PaymentProviderUnavailable, unknown_session
from services.checkout.model.sessions import (
    SESSION_ID,
    Changes,
    CheckoutSession,
    ImageState,
    State,
    judge,
)
from services.checkout.service.paid_images import PaidImages
from shared.concurrency.single_flight import SingleFlight
from shared.errors import KeepsakeError
from shared.log import get_logger

DEADLINE_S = 8.5
LEASE_S = 10.0
OTHERS_WAIT_S = 2.0
LOOK_S = 0.05
FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 900.0


@asynccontextmanager
async def provider_deadline() -> AsyncIterator[None]:
    """Bound all that one request asks Stripe for, so that the answer comes within ten seconds."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield
    except TimeoutError as error:
        raise PaymentProviderUnavailable from error


def backoff(tries: int) -> timedelta:
    return timedelta(seconds=min(FIRST_RETRY_S * 2 ** min(tries, 16), LONGEST_RETRY_S))


@dataclass(slots=True)
class Fulfilment:
    """The one idempotent way from a paid session to its image in durable storage, and from a dead one to no hold.

    A crash at any point leaves a row that is due again; every step can be repeated.
    """

    sessions: SqlSessions
    payments: StripePayments
    images: HttpTempImages
    paid_images: PaidImages
    now: Callable[[], datetime]
    on_change: Callable[[], None] = lambda: None
    _flights: SingleFlight[CheckoutSession] = field(default_factory=SingleFlight, init=False)

    async def settle(self, row: CheckoutSession) -> CheckoutSession:
        """Return the row as it stands after asking Stripe, where it has more to say, and fulfilling what is due.

        Callers at the same time share one run, which goes on when they leave. What keeps the image from being promoted is
        logged and tried again later; Stripe's silence is raised.
        """
        return await self._flights.run(row.id, partial(self.settle_alone, row))

    async def close(self) -> None:
        await self._flights.close()

    async def settle_alone(self, row: CheckoutSession) -> CheckoutSession:
        """Do the same in a run that is not shared, and that ends with its caller."""
        if not row.is_settled and row.session_id is not None:
            seen = await self.payments.retrieve(row.session_id)
            if seen is not None:
                row = await self.record(row, seen)
            else:
                get_logger().error("session_unknown_to_stripe", row=row.id)
                # Whoever buys the same gets another one; this row stays as it is: the keys may be the wrong ones.
                row = await self.sessions.update(row, Changes(reuse_key=None)) or row
        if row.needs_fulfilment:
            row = await self._try_to_fulfil(row)
        return row

    async def record(self, row: CheckoutSession, seen: ProviderSession) -> CheckoutSession:
        """Move the row to what Stripe says, forward only; who is slower finds the row moved and decides again."""
        while (verdict := judge(row, seen, self.now())) is not None:
            changes, update = verdict
            changed = await self.sessions.update(row, changes, order_update=update)
            if changed is not None:
                if update is not None:
                    self.on_change()
                if changed.state is State.NEEDS_REVIEW:
                    get_logger().error("payment_needs_review", row=row.id, reason=changed.review_reason)
                return changed
            row = await self.require_row(row.id)
        return row

    async def require_row(self, row_id: str) -> CheckoutSession:
        """Return the row as it is now; raise NotFound where there is none."""
        row = await self.sessions.find(id=row_id)
        if row is None:
            raise unknown_session()
        return row

    async def require_row_of_session(self, session_id: str) -> CheckoutSession:
        """Return the row of Stripe's session; raise NotFound for one that is not ours, and for a malformed id."""
        row = await self.sessions.find(session_id=session_id) if SESSION_ID.fullmatch(session_id) else None
        if row is None:
            raise unknown_session()
        return row

    async def _try_to_fulfil(self, row: CheckoutSession) -> CheckoutSession:
        try:
            return await self._fulfil(row)
        except KeepsakeError as error:
            get_logger().warning("fulfilment_deferred", row=row.id, code=error.code)
            with suppress(KeepsakeError):
                row = await self.require_row(row.id)
                await self.sessions.update(row, Changes(next_check_at=self.now() + backoff(row.checks)))
            return row

    async def _fulfil(self, row: CheckoutSession) -> CheckoutSession:
        # The lease only saves work: two who promote the same image write the same bytes under the same key.
        if not await self.sessions.lease(row.id, self.now(), LEASE_S):
            return await self._wait_for_other(row)
        try:
            row = await self.require_row(row.id)
            if row.needs_fulfilment and row.state is State.PAID and row.image_state is not ImageState.PROMOTED:
                row = await self._promote(row)
            return await self._release_hold(row)
        finally:
            await self.sessions.release_lease(row.id)

    async def _wait_for_other(self, row: CheckoutSession) -> CheckoutSession:
        with suppress(TimeoutError):
            async with asyncio.timeout(OTHERS_WAIT_S):
                while row.needs_fulfilment:
                    await asyncio.sleep(LOOK_S)
                    row = await self.require_row(row.id)
        return row

    async def _promote(self, row: CheckoutSession) -> CheckoutSession:
        assert row.image_id is not None  # noqa: S101 - a row without image has no hold
        found = await self.images.read(row.image_id, row.id)
        if found is None:
            get_logger().error("paid_image_missing", row=row.id)
            changes = Changes(image_state=ImageState.LOST, review_reason="The image of this payment is not there.")
            return await self.sessions.update(row, changes) or row
        key, content_type = await self.paid_images.keep(f"checkouts/{row.session_id}/{row.image_id}", *found)
        changes = Changes(image_state=ImageState.PROMOTED, image_key=key, image_type=content_type, review_reason=None)
        return await self.sessions.update(row, changes) or row

    async def _release_hold(self, row: CheckoutSession) -> CheckoutSession:
        """End the hold once nothing is left to be saved; an image that was not found is looked for until the hold's end."""
        if not row.needs_fulfilment or row.image_id is None or row.hold_until is None:
            return row
        if row.image_state is ImageState.LOST and self.now() < row.hold_until:
            changes = Changes(next_check_at=self.now() + backoff(row.checks))
            return await self.sessions.update(row, changes) or row
        await self.images.release(row.image_id, row.id)
        changes = Changes(hold_until=None, next_check_at=None)
        if row.image_state is ImageState.HELD:
            changes["image_state"] = ImageState.RELEASED
        return await self.sessions.update(row, changes) or row
