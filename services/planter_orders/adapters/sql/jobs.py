"""What waits to be done: for orders a time in their row, which is also the lease of whoever does it; and orphaned objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from services.planter_orders.adapters.sql.orders import METADATA_LEASE
from services.planter_orders.adapters.sql.queries import order_by_id
from services.planter_orders.adapters.sql.tables import FILES, ORDERS, ORPHANS
from services.planter_orders.model.orders import Order, Quality
from shared.persistence.engine import Database

T = ORDERS.c
# Two at once would do the same work twice and come to the same: so the lease is shorter than the longest work.
PHOTOS_LEASE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class PhotoWork:
    """An order whose photos are to be looked at, and how often that was begun, this time included."""

    order: Order
    attempts: int


@dataclass(frozen=True, slots=True)
class Orphan:
    """An order that is no more, or never was: its objects are to be removed."""

    order_id: str
    user_id: str


class PendingJobs:
    """What each change leaves to be done for an order, kept with it until it is done; a lease lapses by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_metadata(self, order_id: str, now: datetime) -> Order | None:
        """Take the order's metadata file to write; None where it is up to date or somebody writes it."""
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
        """Return ids of orders whose metadata file waits to be written."""
        query = sa.select(T.id).where(T.metadata_due_at <= now).order_by(T.metadata_due_at).limit(limit)
        async with self._database.read() as connection:
            return list(await connection.scalars(query))

    async def metadata_written(self, order: Order, now: datetime) -> int | None:
        """Take note that this version is written, and return the order's present one; None where it is no more.

        Where the order has changed meanwhile, its file is due again at once.
        """
        due_at = sa.case((T.version == order.version, None), else_=sa.literal(now, T.metadata_due_at.type))
        update = ORDERS.update().where(T.id == order.id).values(metadata_due_at=due_at)
        async with self._database.begin() as connection:
            version: int | None = await connection.scalar(update.returning(T.version))
        return version

    async def request_metadata(self, order_id: str, now: datetime) -> None:
        """Have the metadata file written again."""
        due_at = sa.func.coalesce(T.metadata_due_at, now)
        async with self._database.begin() as connection:
            await connection.execute(ORDERS.update().where(T.id == order_id).values(metadata_due_at=due_at))

    async def take_photos(self, now: datetime) -> PhotoWork | None:
        """Take the order whose photos have waited longest, and that no other process is taking."""
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

    async def photos_done(self, order: Order, qualities: Sequence[Quality], now: datetime) -> bool:
        """Keep what was found, unless another process has; False where the order is no more."""
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
                return await connection.scalar(sa.select(T.id).where(T.id == order.id)) is not None
            for position, quality in enumerate(qualities):
                file = FILES.update().where(FILES.c.order_id == order.id, FILES.c.position == position)
                await connection.execute(file.values(warnings=list(quality.warnings)))
        return True

    async def put_off_photos(self, order_id: str, until: datetime) -> bool:
        """Let the photos be taken again then, unless another process has finished; False where the order is no more."""
        due_at = sa.case((T.photos_due_at.is_(None), None), else_=sa.literal(until, T.photos_due_at.type))
        later = ORDERS.update().where(T.id == order_id).values(photos_due_at=due_at)
        async with self._database.begin() as connection:
            return bool((await connection.execute(later)).rowcount)


class Orphans:
    """Orders that have objects and no row: uploads under way, and what was deleted; an entry until nothing is left.

    Each is looked at twice, a minute apart: a write that was under way may land after the first time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, order_id: str, user_id: str, until: datetime) -> None:
        """Enter an upload that is about to write objects; after `until` it counts as dead."""
        entry = {"order_id": order_id, "user_id": user_id, "due_at": until, "doomed": False, "passes": 0}
        async with self._database.begin() as connection:
            await connection.execute(ORPHANS.insert().values(**entry))

    async def extend(self, order_id: str, until: datetime) -> None:
        """Show that the upload lives, unless somebody took its entry."""
        async with self._database.begin() as connection:
            ours = ORPHANS.update().where(ORPHANS.c.order_id == order_id, ORPHANS.c.doomed.is_(False))
            await connection.execute(ours.values(due_at=until))

    async def doom(self, order_id: str, until: datetime) -> bool:
        """Take an upload's entry, to remove its objects until then; False where it became an order.

        A transaction that turns it into an order at this moment is waited for.
        """
        mark = ORPHANS.update().where(ORPHANS.c.order_id == order_id).values(doomed=True, due_at=until)
        async with self._database.begin() as connection:
            return bool((await connection.execute(mark)).rowcount)

    async def take_due(self, now: datetime, until: datetime, limit: int) -> Sequence[Orphan]:
        """Take what is due and no other process is taking, to remove its objects until then."""
        due = sa.select(ORPHANS.c.order_id).where(ORPHANS.c.due_at <= now).order_by(ORPHANS.c.due_at).limit(limit)
        async with self._database.begin() as connection:
            ids = list(await connection.scalars(due.with_for_update(skip_locked=True)))
            mark = ORPHANS.update().where(ORPHANS.c.order_id.in_(ids)).values(doomed=True, due_at=until)
            taken = await connection.execute(mark.returning(ORPHANS.c.order_id, ORPHANS.c.user_id)) if ids else ()
            return [Orphan(row.order_id, row.user_id) for row in taken]

    async def removed(self, order_id: str, again_at: datetime) -> None:
        """Take note that the objects are gone: the first time look again then, the second time forget the entry."""
        ours = ORPHANS.c.order_id == order_id
        async with self._database.begin() as connection:
            if not (await connection.execute(ORPHANS.delete().where(ours, ORPHANS.c.passes > 0))).rowcount:
                await connection.execute(ORPHANS.update().where(ours).values(passes=1, due_at=again_at))
