"""What does not fit together: payments without their image, images without a payment, payments that nobody recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.checkout.adapters.sql.sessions import SqlSessions
from services.checkout.adapters.stripe import StripePayments
from services.checkout.model.sessions import CHARGED, CheckoutSession, ImageState, State
from shared.objects import ObjectStore

CHECKOUTS = "checkouts/"
STRIPE_SINCE = timedelta(days=7)


@dataclass(slots=True)
class Reconciliation:
    """Compares our rows with the objects in storage and with Stripe; changes nothing."""

    sessions: SqlSessions
    payments: StripePayments
    objects: ObjectStore
    site: str

    async def findings(self, now: datetime) -> AsyncIterator[str]:
        """Iterate over one sentence for each thing that does not fit."""
        async for row in self.sessions.charged():
            if (finding := await self._look_at(row)) is not None:
                yield finding
        async for facts in self.objects.list(CHECKOUTS):
            session_id = facts.key.removeprefix(CHECKOUTS).partition("/")[0]
            owner = await self.sessions.find(session_id=session_id)
            if owner is None or owner.state is not State.PAID or owner.image_key != facts.key:
                yield f"image without payment: the object {facts.key}"
        async for seen in self.payments.sessions_since(now - STRIPE_SINCE):
            if seen.site != self.site or seen.payment_status != "paid":
                continue
            known = await self.sessions.find(id=seen.row_id)
            if known is None or known.state not in CHARGED or known.session_id != seen.id:
                yield f"paid at Stripe, not recorded here: the session with client_reference_id {seen.row_id}"

    async def _look_at(self, row: CheckoutSession) -> str | None:
        if row.needs_review:
            return f"needs review: session {row.session_id}: {row.review_reason}"
        if row.image_id is None or row.state is State.REFUNDED:
            return None
        if row.image_state is not ImageState.PROMOTED:
            return f"paid without image: session row {row.id}, its image is {row.image_state}"
        if await self.objects.stat(row.image_key or "") is None:
            return f"paid without image: session row {row.id}, its object is not in storage"
        return None
