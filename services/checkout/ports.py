"""What checkout needs from outside: its tables, Stripe, the temporary images, the order service, durable storage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from services.checkout.model.payments import (
    Dispute,
    ProviderRefund,
    ProviderSession,
    Refund,
    WebhookEvent,
)
from services.checkout.model.sessions import Changes, CheckoutSession, OrderMove
from shared.errors import Conflict
from shared.objects import ObjectFacts, ObjectReader


class AlreadyLive(Conflict):
    """Another live row has the same reuse key."""


class Sessions(Protocol):
    """Our rows. Every call is one transaction; DependencyDown("database") where there is none."""

    async def insert(self, row: CheckoutSession) -> None:
        """Add a row; raise AlreadyLive where a live one has its reuse key."""

    async def discard(self, row_id: str) -> None:
        """Remove a row that is `creating` still."""

    async def get(self, row_id: str) -> CheckoutSession | None:
        """Return the row."""

    async def find(self, **columns: Any) -> CheckoutSession | None:
        """Return the newest row with these values."""

    async def find_live(self, reuse_key: str) -> CheckoutSession | None:
        """Return the row that is `creating`, `open` or `processing` under this key."""

    async def of_order(self, order_id: str) -> Sequence[CheckoutSession]:
        """Return the order's rows, newest first."""

    def charged(self) -> AsyncIterator[CheckoutSession]:
        """Iterate over all rows that took money, in bounded memory."""
        ...

    async def update(
        self, row: CheckoutSession, changes: Changes, *, move: OrderMove | None = None
    ) -> CheckoutSession | None:
        """Change the row and queue `move`, both or neither, if its state and attempt are still those of `row`.

        Returns the new row, or None where somebody else was faster.
        """

    async def lease(self, row_id: str, now: datetime, seconds: float) -> bool:
        """Take the right to fulfil the row for a while; False where another has it."""

    async def release_lease(self, row_id: str) -> None:
        """Give that right back."""

    async def claim_due(self, now: datetime, limit: int) -> Sequence[CheckoutSession]:
        """Return rows whose `next_check_at` has come, put off so that no other process takes them too."""


@dataclass(frozen=True, slots=True)
class HeldImage:
    """What temp-image says of an image that it holds."""

    content_type: str
    size: int


class Payments(Protocol):
    """Stripe. Raises PaymentProviderUnavailable or PaymentProviderRefused; amounts are minor units."""

    async def create(self, row: CheckoutSession) -> ProviderSession:
        """Create the session of a row; the same row and attempt give the same session, however often."""

    async def retrieve(self, session_id: str) -> ProviderSession | None:
        """Return the session as it is now; None where this account has none with the id."""

    async def expire(self, session_id: str) -> bool:
        """Expire an open session; False where it is not open any more."""

    async def marks_of(self, payment_intent: str) -> tuple[str | None, str | None]:
        """Return the row id and the site that a payment intent is marked with."""

    async def refund(self, row: CheckoutSession, refund: Refund) -> ProviderRefund:
        """Give money back; the same refund and attempt give the same refund, however often."""

    async def refunds_of(self, payment_intent: str) -> Sequence[ProviderRefund]:
        """Return all refunds of a payment."""

    def sessions_since(self, since: datetime) -> AsyncIterator[ProviderSession]:
        """Iterate over this account's sessions that were made since then."""
        ...

    async def dispute(self, dispute_id: str) -> Dispute | None:
        """Return the dispute as it is now."""


class TempImages(Protocol):
    """temp-image's holds; DependencyDown("temp-image") where it does not answer."""

    async def hold(self, image_id: str, holder: str, until: datetime) -> HeldImage | None:
        """Keep the image for `holder` until then, again and again; None where it is gone."""

    async def release(self, image_id: str, holder: str) -> None:
        """End the hold; it is no error that there was none."""

    async def read(self, image_id: str, holder: str) -> tuple[bytes, str] | None:
        """Return the held bytes and their content type; None where they are gone."""


class Vault(Protocol):
    """Durable storage; DependencyDown("storage") where it does not answer, StorageFull where there is no room."""

    async def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        """Write the object, durable on return."""

    def open(self, key: str) -> AbstractAsyncContextManager[ObjectReader]:
        """Open an object for reading; NotFound where there is none."""
        ...

    async def stat(self, key: str) -> ObjectFacts | None:
        """Describe an object; None where there is none."""

    def list(self, prefix: str) -> AsyncIterator[ObjectFacts]:
        """Iterate over the objects under a prefix."""
        ...


class Orders(Protocol):
    """The order service; DependencyDown("planter-orders") where it does not answer."""

    async def find(self, order_id: str) -> Mapping[str, Any] | None:
        """Return `order_id`, `user_id` and `status`; None where there is no such order."""

    async def move(self, move: OrderMove) -> bool:
        """Move the order, once per event id; False where that is no legal move, or there is no such order."""


@dataclass(frozen=True, slots=True)
class QueuedMove:
    """A move that is to be sent, because of row `row_id`, for the `attempts`th time."""

    row_id: str
    attempts: int
    move: OrderMove


class Moves(Protocol):
    """The outbox; moves are queued by `Sessions.update` and `Refunds.sync`, with what causes them."""

    async def claim_due(self, now: datetime, limit: int, *, order_id: str | None = None) -> Sequence[QueuedMove]:
        """Return moves whose time has come, of each order the oldest alone, put off so that nobody else takes them.

        Of the one order where it is named, and then also before their time.
        """

    async def are_queued(self, order_id: str) -> bool:
        """Tell whether moves of the order are still to be sent."""

    async def put_off(self, event_id: str, until: datetime | None) -> None:
        """Have the move sent again then; None where it is done."""


class Events(Protocol):
    """Webhook events, stored before they are acted on."""

    async def take(self, event: WebhookEvent, now: datetime) -> bool:
        """Keep the event; True where it is the caller's to act on, False where another acts on it or it is done."""

    async def claim_due(self, now: datetime, limit: int) -> Sequence[WebhookEvent]:
        """Return events that were stored and not done, claimed."""

    async def put_off(self, event_id: str, until: datetime | None) -> None:
        """Have the event acted on again then; None where it is done."""

    async def forget(self, before: datetime) -> None:
        """Remove events that were done and received before then."""


class Refunds(Protocol):
    """Our rows of refunds, and of disputes."""

    async def reserve(self, row: CheckoutSession, amount: int | None, reason: str | None, now: datetime) -> Refund:
        """Return the refund to ask Stripe for: a new one, or the same that was asked for and never answered.

        `amount` None is all that is left; where nothing is, the latest refund. Raises NotAllowedValue for more than is left.
        """

    async def next_attempt(self, refund: Refund) -> Refund:
        """Give the refund another key, once for all who ask."""

    async def finish(self, refund_id: str, status: str) -> None:
        """Take our refund row out of what counts (`refused`)."""

    async def answered(self, refund_id: str) -> None:
        """Remember that who asked has the answer."""

    async def sync(self, row: CheckoutSession, seen: Sequence[ProviderRefund], now: datetime) -> CheckoutSession:
        """Write what Stripe says of all refunds of a session, and queue the order's move once all is given back."""

    async def record_dispute(self, row: CheckoutSession, dispute: Dispute, now: datetime) -> None:
        """Write what is known of a dispute."""


class EventVerifier(Protocol):
    """Knows the secrets that Stripe signs its events with."""

    def __call__(self, payload: bytes, signature: str) -> WebhookEvent | None:
        """Return the event if its signature is one of ours and fresh; else None."""
