"""What waits to be done: for orders a time in their row, which is also the lease of whoever does it; and orphaned objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.planter_orders.adapters.sql.changes import record
from services.planter_orders.adapters.sql.orders import METADATA_LEASE
from services.planter_orders.adapters.sql.reading import order_by_id
from services.planter_orders.adapters.sql.tables import FILES, NEWEST_EVENT, ORDERS, ORPHANS
from services.planter_orders.model.orders import Order, PhotoChange, PhotoEvent
from services.planter_orders.model.photos import Quality
from shared.persistence.engine import Repository

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
    """An order that is no more, or never was, or one of its photos: the objects are to be removed."""

    order_id: str
    user_id: str
    filename: str = ""


class PendingJobs(Repository):
    """What each change leaves to be done for an order, kept with it until it is done; a lease lapses by itself."""

    async def take_metadata(self, order_id: str, now: datetime) -> Order | None:
        """Take the order's metadata file to write; None where it is up to date or somebody writes it."""
        lease = (
            ORDERS.update()
            .where(T.id == order_id, T.metadata_due_at <= now)
            .values(metadata_due_at=now + METADATA_LEASE)
        )
        async with self._database.begin() as connection:
            if not (await connection.execute(lease)).rowcount:
                return None
            return await order_by_id(connection, order_id)

    async def metadata_due(self, now: datetime, limit: int) -> Sequence[str]:
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
        due_at = sa.func.coalesce(T.metadata_due_at, now)
        await self._database.execute(ORDERS.update().where(T.id == order_id).values(metadata_due_at=due_at))

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
            lease = ORDERS.update().where(T.id == order_id)
            attempts = await connection.scalar(
                lease.values(photos_due_at=now + PHOTOS_LEASE, photos_attempts=T.photos_attempts + 1).returning(
                    T.photos_attempts
                )
            )
            order = await order_by_id(connection, order_id)
        return None if order is None else PhotoWork(order, attempts or 0)

    async def photos_done(self, order: Order, qualities: Sequence[Quality], now: datetime) -> bool:
        """Keep what was found, with an event for each photo that is judged anew; False where nothing changed.

        That is so where another process has done it, the order is no more, or a photo was replaced meanwhile: then its
        photos stay due.
        """
        async with self._database.begin() as connection:
            query = sa.select(T.photos_due_at, NEWEST_EVENT).where(T.id == order.id).with_for_update()
            row = (await connection.execute(query)).first()
            if row is None or row.photos_due_at is None:
                return False
            if await self._filenames(connection, order.id) != {photo.filename for photo in order.photos}:
                return False
            number = row.newest_event_id
            for photo, quality in zip(order.photos, qualities, strict=True):
                if photo.quality == quality:
                    continue
                file = FILES.update().where(FILES.c.order_id == order.id, FILES.c.filename == photo.filename)
                await connection.execute(file.values(warnings=list(quality.warnings)))
                checked = PhotoEvent(0, order.id, photo.filename, PhotoChange.CHECKED, now)
                number = await record(connection, checked, tell=False)
            await connection.execute(
                ORDERS.update()
                .where(T.id == order.id)
                .values(
                    photos_due_at=None,
                    newest_event_id=number,
                    is_warned=any(quality.warnings for quality in qualities),
                    version=T.version + 1,
                    metadata_due_at=sa.func.coalesce(T.metadata_due_at, now),
                )
            )
        return True

    async def put_off_photos(self, order_id: str, until: datetime) -> None:
        """Let the photos be taken again then, unless another process has finished."""
        later = ORDERS.update().where(T.id == order_id, T.photos_due_at.is_not(None)).values(photos_due_at=until)
        await self._database.execute(later)

    async def filenames(self, order_id: str) -> frozenset[str]:
        """Return the names of the order's photos; none where the order is no more."""
        async with self._database.read() as connection:
            return await self._filenames(connection, order_id)

    @staticmethod
    async def _filenames(connection: AsyncConnection, order_id: str) -> frozenset[str]:
        return frozenset(await connection.scalars(sa.select(FILES.c.filename).where(FILES.c.order_id == order_id)))


class Orphans(Repository):
    """Objects without a row: of uploads under way, and of what was deleted or replaced; an entry until nothing is left.

    Each is looked at twice, a minute apart: a write that was under way may land after the first time.
    """

    async def open(self, orphan: Orphan, until: datetime) -> None:
        """Enter an upload that is about to write objects; after `until` it counts as dead."""
        entry = {**asdict(orphan), "due_at": until, "doomed": False, "passes": 0}
        await self._database.execute(ORPHANS.insert().values(**entry))

    async def extend(self, orphan: Orphan, until: datetime) -> None:
        """Show that the upload lives, unless somebody took its entry."""
        ours = ORPHANS.update().where(*_is(orphan), ORPHANS.c.doomed.is_(False))
        await self._database.execute(ours.values(due_at=until))

    async def doom(self, orphan: Orphan, until: datetime) -> bool:
        """Take an upload's entry, to remove its objects until then; False where they have a row now.

        A transaction that gives them one at this moment is waited for.
        """
        mark = ORPHANS.update().where(*_is(orphan)).values(doomed=True, due_at=until)
        return bool(await self._database.execute(mark))

    async def take_due(self, now: datetime, until: datetime, limit: int) -> Sequence[Orphan]:
        """Take what is due and no other process is taking, to remove its objects until then."""
        columns = (ORPHANS.c.order_id, ORPHANS.c.user_id, ORPHANS.c.filename)
        due = sa.select(*columns).where(ORPHANS.c.due_at <= now).order_by(ORPHANS.c.due_at).limit(limit)
        async with self._database.begin() as connection:
            taken = [Orphan(*row) for row in await connection.execute(due.with_for_update(skip_locked=True))]
            for orphan in taken:
                await connection.execute(ORPHANS.update().where(*_is(orphan)).values(doomed=True, due_at=until))
        return taken

    async def removed(self, orphan: Orphan, again_at: datetime) -> None:
        """Take note that the objects are gone: the first time look again then, the second time forget the entry."""
        async with self._database.begin() as connection:
            gone = ORPHANS.delete().where(*_is(orphan), ORPHANS.c.passes > 0)
            if not (await connection.execute(gone)).rowcount:
                await connection.execute(ORPHANS.update().where(*_is(orphan)).values(passes=1, due_at=again_at))


def _is(orphan: Orphan) -> tuple[sa.ColumnElement[bool], ...]:
    return ORPHANS.c.order_id == orphan.order_id, ORPHANS.c.filename == orphan.filename
