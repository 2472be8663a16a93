"""What the customer's landing page asks for: how the session stands, and the bought image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.checkout.model.refusals import unknown_session
from services.checkout.model.sessions import (
    CHARGED,
    IMAGE_SHOWN_FOR,
    SESSION_ID,
    CheckoutSession,
    ImageState,
    State,
)
from services.checkout.service.fulfilment import Fulfilment, provider_deadline
from shared.errors import BadRequest, Conflict, NotFound, Unavailable


@dataclass(slots=True)
class Queries:
    """Shows sessions to those who hold their id, and those of orders to their owners alone."""

    fulfilment: Fulfilment
    now: Callable[[], datetime]

    async def status(self, session_id: str, user_id: str | None) -> CheckoutSession:
        """Return the session after asking Stripe; where Stripe has nothing to add any more, it is not asked.

        Raises BadRequest for a malformed id, NotFound for a session that is not ours, or sells an order of somebody else.
        """
        if not SESSION_ID.fullmatch(session_id):
            raise BadRequest.of(
                "session_id", "session_id is not one of Stripe's checkout sessions.", "session_id_malformed"
            )
        row = await self.fulfilment.require_row_of_session(session_id)
        if row.order_id is not None and row.user_id != user_id:
            raise unknown_session()
        if row.is_settled and not row.needs_fulfilment:
            return row
        async with provider_deadline():
            return await self.fulfilment.settle(row)

    async def image(self, session_id: str) -> CheckoutSession:
        """Return the paid session whose image is promoted, until 24 hours after the payment."""
        row = await self.fulfilment.require_row_of_session(session_id)
        if row.image_id is None:
            raise NotFound("This session has no image.", "image_not_found")
        if row.image_state is not ImageState.PROMOTED and row.state not in {State.NEEDS_REVIEW, State.REFUNDED}:
            async with provider_deadline():
                row = await self.fulfilment.settle(row)
        if row.state not in CHARGED or row.paid_at is None:
            raise Conflict("This session is not paid.", "not_paid")
        if row.state is State.REFUNDED:
            raise Conflict("The payment of this session was given back.", "payment_refunded")
        if row.state is State.NEEDS_REVIEW:
            raise Conflict("The payment of this session is being looked at.", "needs_review")
        if not self.is_shown(row) or row.image_state is ImageState.RELEASED:
            raise NotFound("The image is not shown any more.", "image_not_found")
        if row.image_state is not ImageState.PROMOTED:
            raise Unavailable(
                "The image is on its way. Please try again shortly.", code="image_pending", retry_after_s=5
            )
        return row

    def is_shown(self, row: CheckoutSession) -> bool:
        """Tell whether the time in which the payer may fetch the image is not over."""
        return row.paid_at is not None and self.now() < row.paid_at + IMAGE_SHOWN_FOR
