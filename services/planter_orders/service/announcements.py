"""Who is told of an order's changes: listeners here and at other processes, and `ORDER_WEBHOOK_URL`."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from prometheus_client import Counter

from services.planter_orders.adapters.http import WebhookReceiver
from services.planter_orders.adapters.notifications import Notifications
from services.planter_orders.adapters.sql.changes import Outbox
from services.planter_orders.adapters.sql.orders import OrderRepository
from services.planter_orders.model.deliveries import (
    Attempt,
    Delivery,
    DeliveryState,
    OutgoingWebhook,
    WebhooksOff,
    signed_headers,
)
from services.planter_orders.model.orders import OrderEvent
from shared.concurrency.periodic import work_periodically
from shared.errors import KeepsakeError, Unavailable
from shared.log import get_logger
from shared.metrics import begin_at_zero

CATCH_UP_S = 2.0
LISTEN_AGAIN_S = 2.0
ASK_AGAIN_S = 1.0
EVENTS_AT_ONCE = 100
READERS = 4  # five hundred listeners that come or wake at once must not take all the database's connections
WEBHOOKS = Counter("keepsake_order_webhooks_total", "Attempts to tell of a change, by outcome.", ["outcome"])
begin_at_zero(WEBHOOKS, "delivered", "deferred", "failed")
INTERVAL_S = 1.0
AT_ONCE = 8
LEASE = timedelta(seconds=30)  # longer than the receiver may take
TRIED_FOR = timedelta(hours=24)
KEPT_FOR = timedelta(days=30)
LONGEST_WAIT_S = 7200
GONE = 410


class Watch:
    """One listener: what it has seen, and whether there may be more."""

    def __init__(self) -> None:
        self.seen = 0
        self.news = asyncio.Event()


@dataclass(slots=True)
class OrderEvents:
    """The listeners of one process."""

    orders: OrderRepository
    notifications: Notifications
    on_change: Callable[[], None]
    _watches: defaultdict[str, set[Watch]] = field(default_factory=partial(defaultdict, set), init=False)
    reading: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, READERS), init=False)

    async def announce(self, order_id: str) -> None:
        """Tell everybody, here and elsewhere, that the order has changed or is no more."""
        self._wake(order_id)
        self.on_change()
        await self.notifications.send(order_id)

    async def follow(
        self, order_id: str, last_seen: int | None, pause_s: float
    ) -> AsyncGenerator[OrderEvent | None, None]:
        """Iterate over the order's events: the present state first, or what is newer than the event `last_seen`.

        None after `pause_s` seconds without any. Ends when the order is deleted.
        """
        with self._watching(order_id) as watch:
            if last_seen is not None:
                watch.seen = last_seen
                watch.news.set()
            else:
                async with self.reading:
                    current = await self.orders.current(order_id)
                if current is None:
                    return
                watch.seen = current.id
                yield current
            while True:
                try:
                    async with asyncio.timeout(pause_s):
                        await watch.news.wait()
                except TimeoutError:
                    yield None
                    continue
                watch.news.clear()
                try:
                    async with self.reading:
                        events = await self.orders.events(order_id, watch.seen, EVENTS_AT_ONCE)
                except Unavailable:  # a browser that is cut off now might find nobody to connect to again
                    yield None
                    await asyncio.sleep(ASK_AGAIN_S)
                    watch.news.set()
                    continue
                if events is None:
                    return
                if len(events) == EVENTS_AT_ONCE:
                    watch.news.set()
                for event in events:
                    watch.seen = event.id
                    yield event

    async def run(self) -> None:
        """Wake listeners by what other processes announce, and by looking, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(work_periodically("notifications", self._listen, LISTEN_AGAIN_S, grace_s=0))
            group.create_task(work_periodically("order_events", self._look, CATCH_UP_S))

    def wake_all(self) -> None:
        """Let every listener look."""
        for order_id in list(self._watches):
            self._wake(order_id)

    async def _listen(self) -> None:
        async for order_id in self.notifications.received():
            if order_id:
                self._wake(order_id)
            else:
                self.wake_all()

    async def _look(self) -> None:
        """Ask once for all listeners: what was announced may have been missed."""
        if not self._watches:
            return
        latest = await self.orders.latest(list(self._watches))
        for order_id, watches in list(self._watches.items()):
            newest = latest.get(order_id)
            for watch in watches:
                if newest is None or newest > watch.seen:
                    watch.news.set()

    def _wake(self, order_id: str) -> None:
        for watch in self._watches.get(order_id, ()):
            watch.news.set()

    @contextmanager
    def _watching(self, order_id: str) -> Iterator[Watch]:
        watch = Watch()
        self._watches[order_id].add(watch)
        try:
            yield watch
        finally:
            self._watches[order_id].discard(watch)
            if not self._watches[order_id]:
                del self._watches[order_id]


def wait_before(attempt: int) -> timedelta:
    """Return how long to wait before this attempt (2 is the first repetition): 1 s, 5 s, 25 s, … two hours, a bit less."""
    most = min(5 ** min(attempt - 2, 6), LONGEST_WAIT_S)
    return timedelta(seconds=most * random.uniform(0.8, 1))  # noqa: S311 - spreads the load, keeps no secret


@dataclass(slots=True)
class WebhookSender:
    """Empties the outbox; several processes share it by leases."""

    outbox: Outbox
    receiver: WebhookReceiver
    keys: Sequence[bytes]
    now: Callable[[], datetime]
    due: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Send until cancelled."""
        await work_periodically("webhooks", self.sweep, INTERVAL_S, wake=self.due)

    async def sweep(self) -> None:
        """Send what is due; what becomes due by that, too."""
        while messages := await self.outbox.take_due(self.now(), self.now() + LEASE, AT_ONCE):
            await asyncio.gather(*(self._send(message) for message in messages))

    async def _send(self, message: OutgoingWebhook) -> None:
        now = self.now()
        # The time is this attempt's, so that receivers can refuse what is replayed.
        headers = signed_headers(message.message_id, int(now.timestamp()), message.body, self.keys)
        answer = await self.receiver.post(message.body, headers)
        status, error = (answer, None) if isinstance(answer, int) else (None, answer)
        attempt = Attempt(self.now(), status, error)
        try:
            if status is not None and 200 <= status < 300:
                WEBHOOKS.labels("delivered").inc()
                await self.outbox.finish(message.seq, DeliveryState.DELIVERED, attempt)
            elif status == GONE or now - message.tried_since >= TRIED_FOR:
                WEBHOOKS.labels("failed").inc()
                get_logger().error("webhook_given_up", message=message.message_id, status=status)
                await self.outbox.finish(message.seq, DeliveryState.FAILED, attempt)
            else:
                WEBHOOKS.labels("deferred").inc()
                get_logger().warning("webhook_deferred", message=message.message_id, status=status)
                await self.outbox.put_off(message.seq, self.now() + wait_before(message.attempts + 1), attempt)
        except KeepsakeError as refusal:
            get_logger().warning("webhook_outcome_not_kept", message=message.message_id, code=refusal.code)


@dataclass(slots=True)
class Deliveries:
    """What admins see of the outbox, and what they have sent again."""

    outbox: Outbox
    sender: WebhookSender | None
    now: Callable[[], datetime]

    async def page(
        self, state: DeliveryState | None, before: int | None, limit: int
    ) -> tuple[Sequence[Delivery], int | None]:
        """Return at most `limit` deliveries, the newest first, and the number below which the next page begins."""
        found = await self.outbox.page(state, before, limit + 1)
        page = found[:limit]
        return page, page[-1].seq if len(found) > limit else None

    async def resend(self, message_id: str) -> Delivery:
        """Have a message sent again. Raises DeliveryNotFound, WebhooksOff."""
        if self.sender is None:
            raise WebhooksOff
        delivery = await self.outbox.resend(message_id, self.now())
        self.sender.due.set()
        return delivery

    async def forget_old(self) -> None:
        await self.outbox.forget_old(self.now() - KEPT_FOR)
