"""What nobody waits for: sessions whose time is up, moves of orders, events that were stored and not acted on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from services.checkout.adapters.http import HttpTempImages
from services.checkout.adapters.sql.sessions import SqlEvents, SqlSessions
from services.checkout.model.sessions import CHARGED, HOLD_AHEAD, Changes, CheckoutSession, State
from services.checkout.service.fulfilment import Fulfilment, backoff
from services.checkout.service.outbox import Outbox
from services.checkout.service.webhooks import Webhooks
from shared.concurrency.periodic import work_periodically
from shared.errors import KeepsakeError
from shared.log import get_logger

INTERVAL_S = 3.0
BATCH = 20
AT_ONCE = 5
HOLD_MARGIN = timedelta(hours=12)
LOOK_AGAIN = timedelta(minutes=30)
UNKNOWN_FOR = timedelta(days=7)
EVENTS_KEPT = timedelta(days=30)
HOUSEKEEPING = timedelta(hours=1)

ItemT = TypeVar("ItemT")


@dataclass(slots=True)
class Sweeper:
    """Works in the background of every process; rows are leased, so that any number of them share the work."""

    sessions: SqlSessions
    events: SqlEvents
    images: HttpTempImages
    fulfilment: Fulfilment
    outbox: Outbox
    webhooks: Webhooks
    forget_keys: Callable[[], Awaitable[None]]
    wake: asyncio.Event
    now: Callable[[], datetime]
    _housekeeping_at: datetime = field(init=False)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self._housekeeping_at = self.now()

    async def run(self) -> None:
        """Work until cancelled; a dependency that is down is waited for."""
        await work_periodically("checkout_sessions", self.sweep, INTERVAL_S, wake=self.wake, grace_s=0)

    async def sweep(self) -> bool:
        """Do once what is due now, in bounded batches; return whether a batch was full, so that more may be due.

        A second caller waits for the first, so that whoever returns knows that what was due before has been looked at.
        """
        async with self._one_at_a_time:
            return await self._sweep()

    async def _sweep(self) -> bool:
        more = await self.outbox.send_due()
        rows = await self.sessions.lease_due(self.now(), BATCH)
        await self._each(rows, self._look_at)
        events = await self.events.lease_due(self.now(), BATCH)
        await self._each(events, self.webhooks.act)
        if self.now() >= self._housekeeping_at:
            self._housekeeping_at = self.now() + HOUSEKEEPING
            await self.events.forget(self.now() - EVENTS_KEPT)
            await self.forget_keys()
        return more or BATCH in {len(rows), len(events)}

    async def _each(self, items: Iterable[ItemT], work: Callable[[ItemT], Awaitable[None]]) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(item: ItemT) -> None:
            async with slots:
                try:
                    await work(item)
                except KeepsakeError as error:
                    get_logger().warning("sweep_deferred", work=work.__name__, code=error.code)

        async with asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(one(item))

    async def _look_at(self, row: CheckoutSession) -> None:
        """Ask Stripe about a live session; where Stripe is silent, wait, and keep the image meanwhile."""
        if row.state is State.CREATING:
            changes = Changes(state=State.ABANDONED, next_check_at=self.now() if row.hold_until else None)
            row = await self.sessions.update(row, changes) or row
        try:
            row = await self.fulfilment.settle(row)
        except KeepsakeError:
            row = await self._keep_image(row)
            await self.sessions.update(row, Changes(next_check_at=self.now() + backoff(row.checks)))
            raise
        row = await self._keep_image(row)
        if row.needs_fulfilment:
            return  # its own retry is set
        if row.is_settled:
            again = self.now() + LOOK_AGAIN if row.state is State.NEEDS_REVIEW and row.hold_until else None
        elif row.state is State.OPEN and self.now() > row.expires_at + UNKNOWN_FOR:
            await self.sessions.update(row, Changes(state=State.EXPIRED, next_check_at=self.now()))
            return
        else:
            again = max(row.expires_at, self.now() + min(backoff(row.checks), LOOK_AGAIN))
        await self.sessions.update(row, Changes(next_check_at=again))

    async def _keep_image(self, row: CheckoutSession) -> CheckoutSession:
        """Lengthen a hold that would end before it is known whether the image is paid, or saved."""
        if row.image_id is None or row.hold_until is None or row.hold_until - self.now() > HOLD_MARGIN:
            return row
        if row.is_settled and row.state not in CHARGED:
            return row
        until = self.now() + HOLD_AHEAD
        try:
            if not await self.images.hold(row.image_id, row.id, until):
                get_logger().error("held_image_missing", row=row.id)
                return row
        except KeepsakeError as error:
            get_logger().warning("hold_not_renewed", row=row.id, code=error.code)
            return row
        return await self.sessions.update(row, Changes(hold_until=until)) or row
