"""Makes what the release before writes, while its processes run beside this one's, what this one reads: for one release only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.planter_orders.adapters.sql.changes import PHOTO_REQUESTS, deliveries_counter, orders_counter
from services.planter_orders.adapters.sql.tables import (
    COUNTERS,
    FILES,
    HAS_UNFOLDED_NAME,
    LEFTOVERS,
    ORDERS,
    ORPHANS,
    OUTBOX,
)
from services.planter_orders.model.deliveries import DeliveryState
from services.planter_orders.model.orders import Status, folded
from shared.persistence.engine import Database

NAMES_AT_ONCE = 500
LOOKED_BACK = timedelta(days=1)
T = ORDERS.c


async def catch_up(database: Database, now: datetime) -> None:
    """Catch up with the release before; each step is short, and locks no more than the rows that it changes."""
    while await _fold_names(database) == NAMES_AT_ONCE:
        pass
    async with database.begin() as connection:
        await _adopt_leftovers(connection, now)
        await _mark_warned(connection, now - LOOKED_BACK)
    async with database.begin() as connection:
        await _count_again(connection)


async def _fold_names(database: Database) -> int:
    """Make names searchable, the oldest orders' first; return how many."""
    oldest = sa.select(T.id, T.pet_name).where(HAS_UNFOLDED_NAME).order_by(T.created_at, T.id).limit(NAMES_AT_ONCE)
    this = ORDERS.update().where(T.id == sa.bindparam("its_id"), HAS_UNFOLDED_NAME)
    async with database.begin() as connection:
        rows = (await connection.execute(oldest.with_for_update(skip_locked=True))).all()
        if rows:
            names = [{"its_id": row.id, "its_name": folded(row.pet_name)} for row in rows]
            await connection.execute(this.values(pet_name_folded=sa.bindparam("its_name")), names)
    return len(rows)


async def _adopt_leftovers(connection: AsyncConnection, now: datetime) -> None:
    """Enter among the orphans what uploads and deletions of that release have left behind."""
    taken = LEFTOVERS.delete().where(LEFTOVERS.c.due_at <= now).returning(LEFTOVERS.c.order_id, LEFTOVERS.c.user_id)
    rows = (await connection.execute(taken)).all()
    if rows:
        entry = {"filename": "", "due_at": now, "doomed": True, "passes": 0}
        await connection.execute(ORPHANS.insert(), [{**row._asdict(), **entry} for row in rows])


async def _mark_warned(connection: AsyncConnection, since: datetime) -> None:
    """Mark orders whose photos that release has looked at, and warned of."""
    warns = sa.cast(FILES.c.warnings, sa.Text) != "[]"
    has_warning = sa.exists().where(FILES.c.order_id == T.id, warns)
    unmarked = T.created_at >= since, T.is_warned.is_(False), T.photos_due_at.is_(None), has_warning
    await connection.execute(ORDERS.update().where(*unmarked).values(is_warned=True))


async def _counts(connection: AsyncConnection, query: sa.Select[Any]) -> dict[str, int]:
    return {name: total for name, total in await connection.execute(query)}  # noqa: C416 - rows, which dict() takes for maps


async def _count_again(connection: AsyncConnection) -> None:
    """Set the counters to what there is: with all of them locked, whoever has counted a change has committed it."""
    await connection.execute(sa.select(COUNTERS.c.name).order_by(COUNTERS.c.name).with_for_update())
    statuses = await _counts(connection, sa.select(T.status, sa.func.count()).group_by(T.status))
    states = sa.select(OUTBOX.c.state, sa.func.count()).where(OUTBOX.c.state != DeliveryState.DELIVERED.value)
    waiting = await _counts(connection, states.group_by(OUTBOX.c.state))
    requests = sa.select(sa.func.coalesce(sa.func.sum(T.open_requests), 0)).where(T.open_requests > 0)
    found = {
        **{orders_counter(status): statuses.get(status.value, 0) for status in Status},
        **{deliveries_counter(state): waiting.get(state, 0) for state in ("pending", "failed")},
        PHOTO_REQUESTS: await connection.scalar(requests),
    }
    for name in sorted(found):
        this = COUNTERS.c.name == name, COUNTERS.c.total != found[name]
        await connection.execute(COUNTERS.update().where(*this).values(total=found[name]))
