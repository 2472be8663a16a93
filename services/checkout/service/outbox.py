"""Telling the order service what became of its orders, until it took it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from services.checkout.adapters.http import HttpOrders
from services.checkout.adapters.sql.order_updates import QueuedUpdate, SqlOrderUpdates
from services.checkout.adapters.sql.sessions import SqlSessions
from services.checkout.adapters.stripe import StripePayments
from services.checkout.model.sessions import ORDER_REFUSED, Changes
from services.checkout.service.fulfilment import Fulfilment, backoff
from shared.errors import DependencyDown, KeepsakeError
from shared.log import get_logger

BATCH = 20
DRAIN_S = 2.5
LOOK_S = 0.05


@dataclass(slots=True)
class Outbox:
    """Sends queued updates of orders; each is leased first, so that any number of processes share the work."""

    sessions: SqlSessions
    order_updates: SqlOrderUpdates
    orders: HttpOrders
    payments: StripePayments
    fulfilment: Fulfilment
    now: Callable[[], datetime]

    async def send_due(self) -> bool:
        """Send what is due, in a bounded batch; return whether more may be."""
        due = await self.order_updates.lease_due(self.now(), BATCH)
        for queued in due:
            try:
                await self._send(queued)
            except KeepsakeError as error:
                get_logger().warning("order_update_deferred", row=queued.row_id, code=error.code)
        return len(due) == BATCH

    async def drain(self, order_id: str) -> None:
        """Send all that is queued for one order, now; raise DependencyDown where that does not succeed in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while await self.order_updates.are_queued(order_id):
                    for queued in await self.order_updates.lease_due(self.now(), BATCH, order_id=order_id):
                        await self._send(queued)
                    await asyncio.sleep(LOOK_S if await self.order_updates.are_queued(order_id) else 0)
                return
        raise DependencyDown("planter-orders")

    async def _send(self, queued: QueuedUpdate) -> None:
        try:
            if not await self.orders.update(queued.update):
                await self._refused(queued)
        except KeepsakeError:
            await self.order_updates.put_off(queued.update.event_id, self.now() + backoff(queued.attempts))
            raise
        await self.order_updates.put_off(queued.update.event_id, None)

    async def _refused(self, queued: QueuedUpdate) -> None:
        """Close the session of an order that cannot wait for its payment; have a person look at one that was paid."""
        row = await self.fulfilment.require_row(queued.row_id)
        if queued.update.status == "awaiting_payment" and row.session_id is not None and not row.is_settled:
            await self.payments.expire(row.session_id)
            await self.fulfilment.settle(row)
        elif queued.update.status == "paid":
            get_logger().error("paid_order_refused", row=row.id)
            await self.sessions.update(row, Changes(review_reason=ORDER_REFUSED))
