"""`order_metadata.json`: what each order is, beside its photos, written after each change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from services.planter_orders.adapters.sql import OrderRepository, PendingJobs
from services.planter_orders.model.object_keys import metadata_key
from services.planter_orders.model.orders import Order, OrderFilter
from shared.concurrency.periodic import work_periodically
from shared.errors import KeepsakeError
from shared.http.cursors import Position
from shared.log import get_logger
from shared.objects import ObjectNotFound, ObjectStore

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
        get_logger().warning("metadata_file_deferred", code=error.code)


class MetadataFiles:
    """Writes metadata files one writer at a time, so that an older one never replaces a newer one.

    Beside what changes announce, the newest thousand are read at start and every hour, a few at a time: a file that
    somebody lost or damaged comes back.
    """

    def __init__(
        self,
        *,
        orders: OrderRepository,
        jobs: PendingJobs,
        objects: ObjectStore,
        render: Render,
        now: Callable[[], datetime],
    ) -> None:
        self._orders = orders
        self._jobs = jobs
        self._objects = objects
        self._render = render
        self._now = now
        self._wake = asyncio.Event()
        self._review_at = now()
        self._reviewed = 0
        self._place: Position | None = None

    async def write(self, order_id: str) -> None:
        """Write the order's metadata file until it is up to date; what fails is done later, by the sweep."""
        with _left_to_the_sweep():
            while (order := await self._jobs.take_metadata(order_id, self._now())) is not None:
                if await self._put(order):
                    return

    async def write_first(self, order: Order) -> None:
        """Write a new order's metadata file, which `OrderRepository.add` has taken for us; then as `write`."""
        with _left_to_the_sweep():
            if await self._put(order):
                return
        await self.write(order.id)

    async def run(self) -> None:
        """Sweep until cancelled."""
        await work_periodically("metadata_files", self.sweep, INTERVAL_S, wake=self._wake)

    async def sweep(self) -> None:
        """Write what is due, and review the next few."""
        for order_id in await self._jobs.metadata_due(self._now(), DUE_AT_ONCE):
            await self.write(order_id)
        if self._now() >= self._review_at:
            await self._review()

    async def _put(self, order: Order) -> bool:
        """Write the file; False where the order has changed meanwhile. Of an order deleted meanwhile nothing stays."""
        key = metadata_key(order.user_id, order.id)
        await self._objects.put_bytes(key, self._render(order), "application/json")
        version = await self._jobs.metadata_written(order, self._now())
        if version is None:  # its folder was emptied, perhaps before this file came into it
            await self._objects.delete(key)
            return True
        return version == order.version

    async def _review(self) -> None:
        orders = await self._orders.page(OrderFilter(), self._place, REVIEWED_AT_ONCE)
        for order in orders:
            if not await self._is_written(order):
                await self._jobs.request_metadata(order.id, self._now())
                await self.write(order.id)
        self._reviewed += len(orders)
        if len(orders) < REVIEWED_AT_ONCE or self._reviewed >= REVIEWED_IN_ALL:
            self._review_at, self._reviewed, self._place = self._now() + REVIEW_EVERY, 0, None
        else:
            self._place = Position(orders[-1].created_at, orders[-1].id)

    async def _is_written(self, order: Order) -> bool:
        expected = self._render(order)
        try:
            async with self._objects.open(metadata_key(order.user_id, order.id), length=len(expected) + 1) as found:
                return await found.read() == expected
        except ObjectNotFound:
            return False
