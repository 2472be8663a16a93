"""`order_metadata.json`: each order's description beside its photos, written after each change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from services.planter_orders.model.layout import metadata_key
from services.planter_orders.model.orders import Order, OrderFilter, Place
from services.planter_orders.ports import Chores, Orders
from services.planter_orders.service.working import keep_working
from shared.errors import KeepsakeError
from shared.log import get_logger
from shared.objects import BlobStore, ObjectNotFound

INTERVAL_S = 2.0
DUE_AT_ONCE = 50
REVIEWED_AT_ONCE = 20
REVIEWED_IN_ALL = 1000
REVIEW_EVERY = timedelta(hours=1)

Render = Callable[[Order], bytes]


@contextmanager
def _left_to_the_sweep() -> Iterator[None]:
    try:
        yield
    except KeepsakeError as error:
        get_logger().warning("a description waits", code=error.code)


class Descriptions:
    """Writes descriptions one writer at a time, so that an older one never replaces a newer one.

    Beside what changes announce, the newest thousand are read at start and every hour, a few at a time: a description
    that somebody lost or damaged comes back.
    """

    def __init__(
        self,
        *,
        orders: Orders,
        chores: Chores,
        blobs: BlobStore,
        render: Render,
        now: Callable[[], datetime],
    ) -> None:
        self._orders = orders
        self._chores = chores
        self._blobs = blobs
        self._render = render
        self._now = now
        self._wake = asyncio.Event()
        self._review_at = now()
        self._reviewed = 0
        self._place: Place | None = None

    async def write(self, order_id: str) -> None:
        """Write the order's description until it is up to date; what fails is done later, by the sweep."""
        with _left_to_the_sweep():
            while (order := await self._chores.take_metadata(order_id, self._now())) is not None:
                if await self._put(order):
                    return

    async def write_first(self, order: Order) -> None:
        """Write a new order's description, which `Orders.add` has taken for us; then as `write`."""
        with _left_to_the_sweep():
            if await self._put(order):
                return
        await self.write(order.id)

    async def run(self) -> None:
        """Sweep until cancelled."""
        await keep_working("descriptions", self.sweep, self._wake, INTERVAL_S)

    async def sweep(self) -> None:
        """Write what is due, and review the next few."""
        for order_id in await self._chores.metadata_due(self._now(), DUE_AT_ONCE):
            await self.write(order_id)
        if self._now() >= self._review_at:
            await self._review()

    async def _put(self, order: Order) -> bool:
        key = metadata_key(order.user_id, order.id)
        await self._blobs.put_bytes(key, self._render(order), "application/json")
        return await self._chores.metadata_written(order, self._now())

    async def _review(self) -> None:
        orders = await self._orders.page(OrderFilter(), self._place, REVIEWED_AT_ONCE)
        for order in orders:
            if not await self._is_written(order):
                await self._chores.request_metadata(order.id, self._now())
                await self.write(order.id)
        self._reviewed += len(orders)
        if len(orders) < REVIEWED_AT_ONCE or self._reviewed >= REVIEWED_IN_ALL:
            self._review_at, self._reviewed, self._place = self._now() + REVIEW_EVERY, 0, None
        else:
            self._place = Place.of(orders[-1])

    async def _is_written(self, order: Order) -> bool:
        expected = self._render(order)
        try:
            async with self._blobs.open(metadata_key(order.user_id, order.id), length=len(expected) + 1) as found:
                return await found.read() == expected
        except ObjectNotFound:
            return False
