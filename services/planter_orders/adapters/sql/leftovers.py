"""Orders that have objects and no row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from services.planter_orders.adapters.sql.tables import LEFTOVERS
from services.planter_orders.ports import Leftover
from shared.persistence.engine import Database

T = LEFTOVERS.c


class SqlLeftovers:
    """`Leftovers` in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, order_id: str, user_id: str, until: datetime) -> None:
        """Insert the entry."""
        entry = {"order_id": order_id, "user_id": user_id, "due_at": until, "doomed": False, "passes": 0}
        async with self._database.begin() as connection:
            await connection.execute(LEFTOVERS.insert().values(**entry))

    async def extend(self, order_id: str, until: datetime) -> None:
        """Move the time, unless somebody took the entry."""
        async with self._database.begin() as connection:
            ours = LEFTOVERS.update().where(T.order_id == order_id, T.doomed.is_(False))
            await connection.execute(ours.values(due_at=until))

    async def doom(self, order_id: str, until: datetime) -> bool:
        """Mark the entry; a transaction that turns it into an order at this moment is waited for."""
        mark = LEFTOVERS.update().where(T.order_id == order_id).values(doomed=True, due_at=until)
        async with self._database.begin() as connection:
            return bool((await connection.execute(mark)).rowcount)

    async def take_due(self, now: datetime, until: datetime, limit: int) -> Sequence[Leftover]:
        """Mark entries that no other process is marking."""
        due = sa.select(T.order_id).where(T.due_at <= now).order_by(T.due_at).limit(limit)
        async with self._database.begin() as connection:
            ids = list(await connection.scalars(due.with_for_update(skip_locked=True)))
            mark = LEFTOVERS.update().where(T.order_id.in_(ids)).values(doomed=True, due_at=until)
            taken = await connection.execute(mark.returning(T.order_id, T.user_id)) if ids else ()
            return [Leftover(row.order_id, row.user_id) for row in taken]

    async def removed(self, order_id: str, again_at: datetime) -> None:
        """Delete what was looked at twice; else set the time of the second look."""
        ours = T.order_id == order_id
        async with self._database.begin() as connection:
            if not (await connection.execute(LEFTOVERS.delete().where(ours, T.passes > 0))).rowcount:
                await connection.execute(LEFTOVERS.update().where(ours).values(passes=1, due_at=again_at))
