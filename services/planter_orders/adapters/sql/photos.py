"""Photos of orders: replaced, and asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.planter_orders.adapters.sql.changes import (
    PHOTO_REQUESTS,
    change_order,
    count,
    end_upload,
    lock_order,
    record,
)
from services.planter_orders.adapters.sql.reading import NO_REQUEST, columns_of
from services.planter_orders.adapters.sql.tables import FILES, ORPHANS
from services.planter_orders.model.orders import (
    PhotoChange,
    PhotoEvent,
    Status,
    require_replaceable,
    require_requestable,
)
from services.planter_orders.model.photos import Photo, PhotoNotFound, PhotoRequest, RequestNotFound
from shared.persistence.engine import Database, Repository

ORPHAN_LEASE = timedelta(seconds=30)
"""How long whoever replaced a photo has to remove the old bytes, before the sweep does."""


class PhotoRepository(Repository):
    """Changes photos; `with_webhooks` puts a message into the outbox with each event."""

    def __init__(self, database: Database, *, with_webhooks: bool) -> None:
        super().__init__(database)
        self._with_webhooks = with_webhooks

    async def replace(self, order_id: str, filename: str, photo: Photo, at: datetime) -> None:
        """Put `photo`, whose bytes are there, in the place of the one named, whose bytes become orphans.

        Raises OrderNotFound, PhotoNotFound, PhotoFixed; Unavailable where the upload's entry was taken away meanwhile.
        """
        async with self._database.begin() as connection:
            row = await lock_order(connection, order_id)
            files = {file.filename: file for file in await _files(connection, order_id)}
            old = files.pop(filename, None)
            if old is None:
                raise PhotoNotFound
            was_requested = old.request_reason is not None
            require_replaceable(Status(row.status), is_requested=was_requested)
            await end_upload(connection, order_id, photo.filename)
            orphan = {"order_id": order_id, "filename": filename, "user_id": row.user_id}
            await connection.execute(ORPHANS.insert().values(**orphan, due_at=at + ORPHAN_LEASE, doomed=True, passes=0))
            await connection.execute(
                _file(order_id, filename).values(**columns_of(photo), **NO_REQUEST, warnings=sa.null())
            )
            number = await record(
                connection, PhotoEvent(0, order_id, photo.filename, PhotoChange.REPLACED, at), tell=self._with_webhooks
            )
            await change_order(
                connection,
                order_id,
                at,
                newest_event_id=number,
                open_requests=row.open_requests - int(was_requested),
                is_warned=any(file.warnings for file in files.values()),
                photos_due_at=at,
                photos_attempts=0,
            )
            await count(connection, {PHOTO_REQUESTS: -int(was_requested)}, tell=self._with_webhooks)

    async def request(self, order_id: str, filename: str, request: PhotoRequest) -> None:
        """Ask for another photo; a request that there was is replaced. Raises OrderNotFound, PhotoNotFound, PhotoFixed."""
        async with self._database.begin() as connection:
            row, is_new = await self._requested(connection, order_id, filename, is_requested=False)
            require_requestable(Status(row.status))
            await connection.execute(
                _file(order_id, filename).values(
                    request_reason=request.reason.value, request_note=request.note, requested_at=request.at
                )
            )
            number = await record(
                connection,
                PhotoEvent(0, order_id, filename, PhotoChange.REQUESTED, request.at),
                tell=self._with_webhooks,
            )
            await change_order(
                connection, order_id, request.at, newest_event_id=number, open_requests=row.open_requests + int(is_new)
            )
            await count(connection, {PHOTO_REQUESTS: int(is_new)}, tell=self._with_webhooks)

    async def withdraw_request(self, order_id: str, filename: str, at: datetime) -> None:
        """Ask no more for another photo. Raises OrderNotFound, PhotoNotFound, RequestNotFound."""
        async with self._database.begin() as connection:
            row, is_open = await self._requested(connection, order_id, filename, is_requested=True)
            if not is_open:
                raise RequestNotFound
            await connection.execute(_file(order_id, filename).values(**NO_REQUEST))
            await change_order(connection, order_id, at, open_requests=row.open_requests - 1)
            await count(connection, {PHOTO_REQUESTS: -1})

    async def _requested(
        self, connection: AsyncConnection, order_id: str, filename: str, *, is_requested: bool
    ) -> tuple[Any, bool]:
        """Lock the order; return its row, and whether another photo for this one is asked for, or is not."""
        row = await lock_order(connection, order_id)
        for file in await _files(connection, order_id):
            if file.filename == filename:
                return row, (file.request_reason is not None) == is_requested
        raise PhotoNotFound


async def _files(connection: AsyncConnection, order_id: str) -> Sequence[Any]:
    columns = FILES.c
    query = sa.select(columns.filename, columns.warnings, columns.request_reason).where(columns.order_id == order_id)
    return (await connection.execute(query)).all()


def _file(order_id: str, filename: str) -> sa.Update:
    return FILES.update().where(FILES.c.order_id == order_id, FILES.c.filename == filename)
