"""What waits to be done for orders: a time in the order's row, which is also the lease of whoever does it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from services.planter_orders.adapters.sql.reading import order_by_id
from services.planter_orders.adapters.sql.tables import FILES, ORDERS
from services.planter_orders.model.orders import Order, Quality
from services.planter_orders.ports import METADATA_LEASE, PhotoWork
from shared.persistence.engine import Database

T = ORDERS.c
# Two at once would do the same work twice and come to the same: so the lease is shorter than the longest work.
PHOTOS_LEASE = timedelta(seconds=30)


class SqlChores:
    """`Chores` in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_metadata(self, order_id: str, now: datetime) -> Order | None:
        """Put it off for whoever comes next."""
        claim = (
            ORDERS.update()
            .where(T.id == order_id, T.metadata_due_at <= now)
            .values(metadata_due_at=now + METADATA_LEASE)
        )
        async with self._database.begin() as connection:
            if not (await connection.execute(claim)).rowcount:
                return None
            return await order_by_id(connection, order_id)

    async def metadata_due(self, now: datetime, limit: int) -> Sequence[str]:
        """Read the index of what is due."""
        query = sa.select(T.id).where(T.metadata_due_at <= now).order_by(T.metadata_due_at).limit(limit)
        async with self._database.read() as connection:
            return list(await connection.scalars(query))

    async def metadata_written(self, order: Order, now: datetime) -> bool:
        """Clear the time where the version is still that; else make it due at once."""
        due_at = sa.case((T.version == order.version, None), else_=sa.literal(now, T.metadata_due_at.type))
        update = ORDERS.update().where(T.id == order.id).values(metadata_due_at=due_at)
        async with self._database.begin() as connection:
            return bool(await connection.scalar(update.returning(T.version)) == order.version)

    async def request_metadata(self, order_id: str, now: datetime) -> None:
        """Set the time."""
        due_at = sa.func.coalesce(T.metadata_due_at, now)
        async with self._database.begin() as connection:
            await connection.execute(ORDERS.update().where(T.id == order_id).values(metadata_due_at=due_at))

    async def take_photos(self, now: datetime) -> PhotoWork | None:
        """Skip what another process is taking."""
        due = (
            sa.select(T.id)
            .where(T.photos_due_at <= now)
            .order_by(T.photos_due_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        async with self._database.begin() as connection:
            order_id = await connection.scalar(due)
            if order_id is None:
                return None
            claim = ORDERS.update().where(T.id == order_id)
            attempts = await connection.scalar(
                claim.values(photos_due_at=now + PHOTOS_LEASE, photos_attempts=T.photos_attempts + 1).returning(
                    T.photos_attempts
                )
            )
            order = await order_by_id(connection, order_id)
        return None if order is None else PhotoWork(order, attempts or 0)

    async def photos_done(self, order: Order, qualities: Sequence[Quality], now: datetime) -> None:
        """Write what was found, unless another process has."""
        done = ORDERS.update().where(T.id == order.id, T.photos_due_at.is_not(None))
        async with self._database.begin() as connection:
            result = await connection.execute(
                done.values(
                    photos_due_at=None,
                    version=T.version + 1,
                    metadata_due_at=sa.func.coalesce(T.metadata_due_at, now),
                )
            )
            if not result.rowcount:
                return
            for position, quality in enumerate(qualities):
                file = FILES.update().where(FILES.c.order_id == order.id, FILES.c.position == position)
                await connection.execute(file.values(warnings=list(quality.warnings)))

    async def put_off_photos(self, order_id: str, until: datetime) -> None:
        """Set the time, unless another process has finished."""
        later = ORDERS.update().where(T.id == order_id, T.photos_due_at.is_not(None)).values(photos_due_at=until)
        async with self._database.begin() as connection:
            await connection.execute(later)
