"""What planter-orders needs from outside; where one cannot be reached its calls raise DependencyDown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from services.planter_orders.model.orders import Order, OrderEvent, OrderFilter, Place, Quality
from services.planter_orders.model.status import Status

METADATA_LEASE = timedelta(seconds=10)
"""How long who has taken a description has to write it."""

Answered = Callable[[Any], Awaitable[None]]
"""Called with the open transaction: keeps the answer where the order is kept."""


@dataclass(frozen=True, slots=True)
class PhotoWork:
    """An order whose photos are to be looked at, and how often that was begun, this time included."""

    order: Order
    attempts: int


@dataclass(frozen=True, slots=True)
class Leftover:
    """An order that is no more, or never was: its objects are to be removed."""

    order_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class OutgoingWebhook:
    """A message that waits to be sent; `seq` rises in the order of the changes, `attempts` counts this one too."""

    seq: int
    message_id: str
    order_id: str
    body: bytes
    created_at: datetime
    attempts: int


class Orders(Protocol):
    """The orders, and the events of each in one transaction with the change that they tell of."""

    async def add(self, order: Order, answered: Answered) -> None:
        """Keep a new order, end its upload's entry in Leftovers, and let `answered` write in the same transaction.

        Its description counts as taken by the caller, to be written now.

        Raises Unavailable where that entry was taken away meanwhile: the photos may be gone.
        """

    async def get(self, order_id: str) -> Order | None:
        """Return the order."""

    async def page(self, wanted: OrderFilter, after: Place | None, limit: int) -> Sequence[Order]:
        """Return the newest `limit` orders after `after`; at the same cost however many there are."""

    async def move(
        self, order_id: str, target: Status, note: str | None, at: datetime, event_id: str | None = None
    ) -> bool:
        """Change the status; moves of one order happen one after another.

        With `event_id` (another service's) False where it was applied before, or the order is `target` already.
        Raises OrderNotFound, IllegalMove.
        """

    async def delete(self, order: Order, leftovers_due_at: datetime) -> bool:
        """Remove the order and enter its objects in Leftovers; False where it awaits another payment than when it was read.

        Raises OrderNotFound, OrderPaid.
        """

    async def events(self, order_id: str, after: int, limit: int) -> Sequence[OrderEvent] | None:
        """Return the events with ids above `after`, the oldest first; None where the order is no more."""

    async def current(self, order_id: str) -> OrderEvent | None:
        """Return the event of the present status."""

    async def latest(self, order_ids: Sequence[str]) -> Mapping[str, int]:
        """Return the newest event's id of each order that there is."""


class Chores(Protocol):
    """What each change leaves to be done for an order, kept with it until it is done; a lease lapses by itself."""

    async def take_metadata(self, order_id: str, now: datetime) -> Order | None:
        """Take the order's description to write; None where it is up to date or somebody writes it."""

    async def metadata_due(self, now: datetime, limit: int) -> Sequence[str]:
        """Return ids of orders whose description waits to be written."""

    async def metadata_written(self, order: Order, now: datetime) -> bool:
        """Take note that this version is written; False where the order has changed meanwhile, or is no more."""

    async def request_metadata(self, order_id: str, now: datetime) -> None:
        """Have the description written again."""

    async def take_photos(self, now: datetime) -> PhotoWork | None:
        """Take the order whose photos have waited longest."""

    async def photos_done(self, order: Order, qualities: Sequence[Quality], now: datetime) -> None:
        """Keep what was found; an order that is no more is left so."""

    async def put_off_photos(self, order_id: str, until: datetime) -> None:
        """Let the photos be taken again then."""


class Leftovers(Protocol):
    """Orders that have objects and no row: uploads under way, and what was deleted; a row until nothing is left.

    Each is looked at twice, a minute apart: a write that was under way may land after the first time.
    """

    async def open(self, order_id: str, user_id: str, until: datetime) -> None:
        """Enter an upload that is about to write objects; after `until` it counts as dead."""

    async def extend(self, order_id: str, until: datetime) -> None:
        """Show that the upload lives."""

    async def doom(self, order_id: str, until: datetime) -> bool:
        """Take an upload's entry, to remove its objects until then; False where it became an order."""

    async def take_due(self, now: datetime, until: datetime, limit: int) -> Sequence[Leftover]:
        """Take what is due, to remove its objects until then."""

    async def removed(self, order_id: str, again_at: datetime) -> None:
        """Take note that the objects are gone: the first time look again then, the second time forget the entry."""


class Outbox(Protocol):
    """Webhooks that wait to be sent."""

    async def take_due(self, now: datetime, until: datetime, limit: int) -> Sequence[OutgoingWebhook]:
        """Take messages that are due, of each order the oldest alone; others may take them again after `until`."""

    async def done(self, seq: int) -> None:
        """Forget a message."""

    async def put_off(self, seq: int, until: datetime) -> None:
        """Let the message be taken again then."""


class WebhookReceiver(Protocol):
    """Whom `ORDER_WEBHOOK_URL` names."""

    async def post(self, body: bytes, headers: Mapping[str, str]) -> int | None:
        """Send a message and return the answer's status; None where none came in time."""


class Payments(Protocol):
    """Checkout."""

    async def expire_session(self, order_id: str) -> None:
        """End the order's payment session, so that it cannot be paid. Raises OrderPaid, DependencyDown."""


class Signals(Protocol):
    """Tells the other processes that an order has changed; what gets lost delays, for they also look by themselves."""

    async def send(self, order_id: str) -> None:
        """Tell; never raises."""

    def received(self) -> AsyncIterator[str]:
        """Iterate over the orders that others tell of, first an empty id: from here on none is missed.

        Ends, or raises, when the connection is lost; then it can be asked again.
        """
        ...
