"""Opens checkout sessions: first our row, then the hold, then Stripe. A retry goes on where the last one stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

from services.checkout.adapters.http import HttpOrders, HttpTempImages
from services.checkout.adapters.sql.sessions import AlreadyLive, SqlSessions
from services.checkout.adapters.stripe import StripePayments
from services.checkout.model.catalogue import Cart
from services.checkout.model.payments import ProviderSession
from services.checkout.model.refusals import (
    PaymentProviderRefused,
    PaymentProviderUnavailable,
    image_unavailable,
    order_paid,
    unknown_order,
)
from services.checkout.model.sessions import (
    CHARGED,
    HOLD_AFTER_EXPIRY,
    IMAGE_ID,
    ORDER_ID,
    PAYABLE_ORDERS,
    Changes,
    CheckoutSession,
    ImageState,
    State,
    order_update_for,
    reuse_key_of,
)
from services.checkout.service.fulfilment import Fulfilment, provider_deadline
from services.checkout.service.outbox import Outbox
from shared.concurrency.single_flight import SingleFlight
from shared.errors import Conflict, Unavailable

TTL = timedelta(hours=23)  # of a session without image: Stripe's most is 24 h, by its own clock
STRIPE_SHORTEST = timedelta(minutes=30)
STRIPE_LONGEST = timedelta(hours=24)
CLOCK_SLACK = timedelta(seconds=20)
GIVEN_UP_AFTER = timedelta(minutes=10)
LOOK_AFTER_EXPIRY = timedelta(seconds=10)
TRIES = 4


@dataclass(slots=True)
class SessionOpener:
    """Opens sessions, and closes those of orders that are to be deleted."""

    sessions: SqlSessions
    payments: StripePayments
    images: HttpTempImages
    orders: HttpOrders
    fulfilment: Fulfilment
    outbox: Outbox
    image_ttl_s: int
    now: Callable[[], datetime]
    on_change: Callable[[], None]
    _flights: SingleFlight[CheckoutSession] = field(default_factory=SingleFlight, init=False)

    async def close(self) -> None:
        await self._flights.close()

    async def open(
        self, cart: Cart, *, image_id: str | None = None, order_id: str | None = None, user_id: str | None = None
    ) -> CheckoutSession:
        """Return an open session that sells the cart, with its client secret.

        The same image with the same cart, or the same order, has one open session. Raises Conflict for an image that is
        gone and an order that is paid, NotFound for an order that is not the user's, PaymentProviderUnavailable.
        """
        if image_id is not None and not IMAGE_ID.fullmatch(image_id):
            raise image_unavailable()
        async with provider_deadline():
            if order_id is not None:
                await self._require_payable(order_id, user_id)
            key = reuse_key_of(cart, image_id, order_id)
            for _ in range(TRIES):
                row = await self._live(key)
                if row is None:
                    row = await self._begin(cart, key, image_id, order_id, user_id)
                if row is not None:
                    if row.state is not State.OPEN:
                        row = await self._flights.run(row.id, partial(self._create, row))
                    return await self._announce(row)
        raise Unavailable

    async def _announce(self, row: CheckoutSession) -> CheckoutSession:
        """Give the session of an order out only once the order waits for its payment: then deleting it closes the session."""
        if row.order_id is None:
            return row
        await self.outbox.drain(row.order_id)
        return self._require_open(await self.fulfilment.require_row(row.id))

    async def _require_payable(self, order_id: str, user_id: str | None) -> None:
        order = await self.orders.find(order_id) if ORDER_ID.fullmatch(order_id) else None
        if order is None or order["user_id"] != user_id:
            raise unknown_order()
        for row in await self.sessions.of_order(order_id):
            if row.state in CHARGED and not row.is_given_back:
                raise order_paid()
        if order["status"] in PAYABLE_ORDERS:
            return
        if order["status"] in {"cancelled", "refunded"}:
            raise Conflict("This order cannot be paid any more.", "order_not_payable")
        raise order_paid()

    async def _live(self, key: str | None) -> CheckoutSession | None:
        """Return the row to go on with: open at Stripe too, or not created yet."""
        row = await self.sessions.find_live(key) if key is not None else None
        if row is None or row.state is State.CREATING:
            return row
        row = await self.fulfilment.settle(row)
        if row.state is State.PROCESSING:
            raise Conflict("The payment is under way. Please wait for its end.", "payment_processing")
        if row.state in CHARGED and row.order_id is not None:
            raise order_paid()
        return row if row.state is State.OPEN and row.reuse_key == key else None

    async def _begin(
        self, cart: Cart, key: str | None, image_id: str | None, order_id: str | None, user_id: str | None
    ) -> CheckoutSession | None:
        """Write the row; None where somebody else wrote one for the same purchase in between."""
        now = self.now()
        expires_at = self._expiry(now, has_image=image_id is not None)
        row = CheckoutSession(
            id=uuid4().hex,
            state=State.CREATING,
            sku=cart.product.sku,
            name=cart.product.name,
            description=cart.product.description,
            quantity=cart.quantity,
            unit_amount=cart.unit_amount,
            currency=cart.currency,
            created_at=now,
            expires_at=expires_at,
            reuse_key=key,
            image_id=image_id,
            order_id=order_id,
            user_id=user_id,
            image_state=ImageState.NONE if image_id is None else ImageState.HELD,
            hold_until=None if image_id is None else expires_at + HOLD_AFTER_EXPIRY,
            next_check_at=now + GIVEN_UP_AFTER,
        )
        try:
            await self.sessions.insert(row)
        except AlreadyLive:
            return None
        return row

    def _expiry(self, now: datetime, *, has_image: bool) -> datetime:
        image_ttl = min(timedelta(seconds=self.image_ttl_s), STRIPE_LONGEST - CLOCK_SLACK)
        return now.replace(microsecond=0) + (image_ttl if has_image else TTL)

    async def _create(self, row: CheckoutSession) -> CheckoutSession:
        if row.expires_at < self.now() + STRIPE_SHORTEST + CLOCK_SLACK:
            row = await self._next_attempt(row)
        await self._hold(row)
        try:
            return await self._ask(row)
        except PaymentProviderUnavailable as error:
            if not error.replayed:
                raise
        # Stripe remembers a failure by its key, and would repeat it for a day. What that key may have made is in nobody's
        # hands: its client secret was never sent to anyone.
        return await self._ask(await self._next_attempt(row))

    async def _hold(self, row: CheckoutSession) -> None:
        if row.image_id is None:
            return
        if not await self.images.hold(row.image_id, row.id, row.expires_at + HOLD_AFTER_EXPIRY):
            await self.sessions.discard(row.id)
            raise image_unavailable()

    async def _next_attempt(self, row: CheckoutSession) -> CheckoutSession:
        expires_at = self._expiry(self.now(), has_image=row.image_id is not None)
        changes = Changes(attempt=row.attempt + 1, expires_at=expires_at)
        if row.image_id is not None:
            changes["hold_until"] = expires_at + HOLD_AFTER_EXPIRY
        return await self.sessions.update(row, changes) or await self.fulfilment.require_row(row.id)

    async def _ask(self, row: CheckoutSession) -> CheckoutSession:
        if row.state is not State.CREATING:
            return self._require_open(row)
        try:
            seen = await self.payments.create(row)
        except PaymentProviderRefused:
            await self.sessions.update(row, Changes(state=State.ABANDONED, next_check_at=self.now()))
            raise
        return await self.adopt(row, seen)

    async def adopt(self, row: CheckoutSession, seen: ProviderSession) -> CheckoutSession:
        """Write the session that Stripe made for the row, which is open from now on."""
        changes = Changes(
            state=State.OPEN,
            session_id=seen.id,
            client_secret=seen.client_secret,
            expires_at=seen.expires_at,
            next_check_at=seen.expires_at + LOOK_AFTER_EXPIRY,
            checks=0,
        )
        update = order_update_for(row, "awaiting_payment", "A payment session was opened.")
        opened = await self.sessions.update(row, changes, order_update=update)
        if opened is not None:
            if update is not None:
                self.on_change()
            return opened
        current = await self.fulfilment.require_row(row.id)
        if current.state is State.ABANDONED:
            await self.payments.expire(seen.id)
        return self._require_open(current)

    @staticmethod
    def _require_open(row: CheckoutSession) -> CheckoutSession:
        if row.state is not State.OPEN:
            raise Conflict("The payment session was closed meanwhile. Please try again.", "session_closed")
        return row

    async def expire_for_order(self, order_id: str) -> None:
        """Close the order's open session, for good; raise Conflict where it is paid or being paid."""
        async with provider_deadline():
            for _ in range(TRIES):
                rows = await self.sessions.of_order(order_id)
                if all([await self._is_closed(row) for row in rows]):
                    return
        raise Unavailable

    async def _is_closed(self, row: CheckoutSession) -> bool:
        if row.state is State.CREATING:
            changes = Changes(state=State.ABANDONED, next_check_at=None)
            return await self.sessions.update(row, changes) is not None
        if row.state is State.OPEN and row.session_id is not None:
            await self.payments.expire(row.session_id)
            row = await self.fulfilment.settle(row)
        if row.state is State.PROCESSING or (row.state in CHARGED and not row.is_given_back):
            raise order_paid()
        return row.is_settled
