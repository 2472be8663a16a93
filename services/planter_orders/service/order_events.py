"""Who waits for an order's changes: woken when one is announced here or elsewhere, and by looking every few seconds."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

from services.planter_orders.adapters.notifications import Notifications
from services.planter_orders.adapters.sql import OrderRepository
from services.planter_orders.model.orders import OrderEvent
from shared.concurrency.periodic import work_periodically
from shared.errors import Unavailable

CATCH_UP_S = 2.0
LISTEN_AGAIN_S = 2.0
ASK_AGAIN_S = 1.0
EVENTS_AT_ONCE = 100
READERS = 4  # five hundred listeners that come or wake at once must not take all the database's connections


class Watch:
    """One listener: what it has seen, and whether there may be more."""

    def __init__(self) -> None:
        self.seen = 0
        self.news = asyncio.Event()


class OrderEvents:
    """The listeners of one process."""

    def __init__(self, *, orders: OrderRepository, notifications: Notifications, on_change: Callable[[], None]) -> None:
        self._orders = orders
        self._notifications = notifications
        self._on_change = on_change
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self.reading = asyncio.Semaphore(READERS)

    async def announce(self, order_id: str) -> None:
        """Tell everybody, here and elsewhere, that the order has changed or is no more."""
        self._wake(order_id)
        self._on_change()
        await self._notifications.send(order_id)

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
                    current = await self._orders.current(order_id)
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
                        events = await self._orders.events(order_id, watch.seen, EVENTS_AT_ONCE)
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
        async for order_id in self._notifications.received():
            if order_id:
                self._wake(order_id)
            else:
                self.wake_all()

    async def _look(self) -> None:
        """Ask once for all listeners: what was announced may have been missed."""
        if not self._watches:
            return
        latest = await self._orders.latest(list(self._watches))
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
