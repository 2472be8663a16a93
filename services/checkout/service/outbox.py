"""Telling the order service what became of its orders, until it took it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from services.checkout.model.sessions import Changes
from services.checkout.ports import Moves, Orders, Payments, QueuedMove, Sessions
from services.checkout.service.fulfilment import Settlement, backoff
from shared.errors import DependencyDown, KeepsakeError
from shared.log import get_logger

BATCH = 20
DRAIN_S = 2.5
LOOK_S = 0.05


class Outbox:
    """Sends queued moves; each is claimed first, so that any number of processes share the work."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        moves: Moves,
        orders: Orders,
        payments: Payments,
        settlement: Settlement,
        now: Callable[[], datetime],
    ) -> None:
        self._sessions = sessions
        self._moves = moves
        self._orders = orders
        self._payments = payments
        self._settlement = settlement
        self._now = now

    async def send_due(self) -> bool:
        """Send what is due, in a bounded batch; return whether more may be."""
        due = await self._moves.claim_due(self._now(), BATCH)
        for queued in due:
            try:
                await self._send(queued)
            except KeepsakeError as error:
                get_logger().warning("a move waits", row=queued.row_id, code=error.code)
        return len(due) == BATCH

    async def drain(self, order_id: str) -> None:
        """Send all that is queued for one order, now; raise DependencyDown where that does not succeed in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while await self._moves.are_queued(order_id):
                    for queued in await self._moves.claim_due(self._now(), BATCH, order_id=order_id):
                        await self._send(queued)
                    await asyncio.sleep(LOOK_S if await self._moves.are_queued(order_id) else 0)
                return
        raise DependencyDown("planter-orders")

    async def _send(self, queued: QueuedMove) -> None:
        try:
            if not await self._orders.move(queued.move):
                await self._refused(queued)
        except KeepsakeError:
            await self._moves.put_off(queued.move.event_id, self._now() + backoff(queued.attempts))
            raise
        await self._moves.put_off(queued.move.event_id, None)

    async def _refused(self, queued: QueuedMove) -> None:
        """Close the session of an order that cannot wait for its payment; have a person look at one that was paid."""
        row = await self._settlement.require(queued.row_id)
        if queued.move.status == "awaiting_payment" and row.session_id is not None and not row.is_settled:
            await self._payments.expire(row.session_id)
            await self._settlement.settle(row)
        elif queued.move.status == "paid":
            get_logger().error("a paid order cannot be moved", row=row.id)
            await self._sessions.update(row, Changes(review_reason="Paid, but the order does not take the payment."))
