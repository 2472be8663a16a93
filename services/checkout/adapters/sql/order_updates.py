"""The outbox of updates of orders: queued with what causes them, sent until the order service took them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.checkout.adapters.sql.tables import ORDER_UPDATES
from services.checkout.model.sessions import OrderUpdate
from shared.persistence.engine import Repository

T = ORDER_UPDATES.c
LEASE_S = 10.0


@dataclass(frozen=True, slots=True)
class QueuedUpdate:
    """An update that is to be sent, because of row `row_id`, for the `attempts`th time."""

    row_id: str
    attempts: int
    update: OrderUpdate


async def queue_order_update(
    connection: AsyncConnection, row_id: str, update: OrderUpdate, now: datetime, *, again: bool = False
) -> None:
    """Add the update in the caller's transaction; one that is there stays as it is, or is sent `again`."""
    if await connection.scalar(sa.select(T.seq).where(T.event_id == update.event_id)) is not None:
        if again:
            same = ORDER_UPDATES.update().where(T.event_id == update.event_id)
            await connection.execute(same.values(next_try_at=now, attempts=0))
        return
    queued = {**asdict(update), "row_id": row_id, "attempts": 0, "next_try_at": now}
    await connection.execute(ORDER_UPDATES.insert().values(**queued))


class SqlOrderUpdates(Repository):
    """The outbox; updates are queued by `SqlSessions.update` and `SqlRefunds.sync`, with what causes them."""

    async def are_queued(self, order_id: str) -> bool:
        query = sa.select(T.seq).where(T.order_id == order_id, T.next_try_at.is_not(None)).limit(1)
        async with self._database.read() as connection:
            return await connection.scalar(query) is not None

    async def lease_due(self, now: datetime, limit: int, *, order_id: str | None = None) -> Sequence[QueuedUpdate]:
        """Return updates whose time has come, of each order the oldest alone, put off so that nobody else takes them.

        Of the one order where it is named, and then also before their time.
        """
        older = ORDER_UPDATES.alias()
        waits = older.c.order_id == T.order_id, older.c.seq < T.seq, older.c.next_try_at.is_not(None)
        due = sa.select(T.seq).where(~sa.exists().where(*waits)).order_by(T.next_try_at).limit(limit)
        if order_id is None:
            due = due.where(T.next_try_at <= now)
        else:
            due = due.where(T.order_id == order_id, T.next_try_at.is_not(None))
        lease = ORDER_UPDATES.update().values(next_try_at=now + timedelta(seconds=LEASE_S), attempts=T.attempts + 1)
        columns = (T.row_id, T.attempts, T.event_id, T.order_id, T.status, T.note)
        taken = await self._database.lease(due, lease.returning(*columns))
        return [QueuedUpdate(found.row_id, found.attempts, OrderUpdate(*found[2:])) for found in taken]

    async def put_off(self, event_id: str, until: datetime | None) -> None:
        """Have the update sent again then; None where it is done."""
        await self._database.execute(ORDER_UPDATES.update().where(T.event_id == event_id).values(next_try_at=until))
