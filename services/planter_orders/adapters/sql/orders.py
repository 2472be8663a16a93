"""Orders, and the events of each in one transaction with the change that they tell of."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.planter_orders.adapters.sql.queries import order_by_id, orders_of, page_query
from services.planter_orders.adapters.sql.tables import APPLIED, EVENTS, FILES, ORDERS, ORPHANS, OUTBOX
from services.planter_orders.model.orders import Order, OrderEvent, OrderFilter, OrderNotFound, Place
from services.planter_orders.model.status import Status, require_deletable, require_move
from shared.clock import rfc3339
from shared.errors import Unavailable
from shared.persistence.engine import Database

IDS_AT_ONCE = 500
METADATA_LEASE = timedelta(seconds=10)
"""How long who has taken a metadata file has to write it."""

Answered = Callable[[AsyncConnection], Awaitable[None]]
"""Called with the open transaction: keeps the answer where the order is kept."""


def _event(row: sa.Row[Any]) -> OrderEvent:
    return OrderEvent(row.id, row.order_id, Status(row.status), row.at, row.note)


class OrderRepository:
    """Keeps orders; `with_webhooks` puts a message into the outbox with each event."""

    def __init__(self, database: Database, *, with_webhooks: bool) -> None:
        self._database = database
        self._with_webhooks = with_webhooks

    async def add(self, order: Order, answered: Answered) -> None:
        """Keep a new order, end its upload's entry among the orphans, and let `answered` write in the same transaction.

        Its metadata file counts as taken by the caller, to be written now.

        Raises Unavailable where that entry was taken away meanwhile: the photos may be gone.
        """
        async with self._database.begin() as connection:
            ours = (ORPHANS.c.order_id == order.id, ORPHANS.c.doomed.is_(False))
            if (await connection.execute(ORPHANS.delete().where(*ours))).rowcount != 1:
                raise Unavailable("The upload took too long to store. Please try again.", code="upload_lapsed")
            event_id = await self._record(connection, order.id, order.status, order.created_at, None)
            await connection.execute(
                ORDERS.insert().values(
                    id=order.id,
                    user_id=order.user_id,
                    pet_name=order.pet_name,
                    pet_type=order.pet_type,
                    notes=order.notes,
                    status=order.status.value,
                    created_at=order.created_at,
                    last_event_id=event_id,
                    version=order.version,
                    metadata_due_at=order.created_at + METADATA_LEASE,
                    photos_due_at=order.created_at,
                    photos_attempts=0,
                )
            )
            await connection.execute(
                FILES.insert(),
                [
                    {
                        "order_id": order.id,
                        "position": position,
                        "filename": photo.filename,
                        "original_filename": photo.original_filename,
                        "content_type": photo.content_type,
                        "size": photo.size,
                        "width": photo.width,
                        "height": photo.height,
                        "sha256": photo.sha256,
                    }
                    for position, photo in enumerate(order.photos)
                ],
            )
            await answered(connection)

    async def get(self, order_id: str) -> Order | None:
        """Return the order."""
        async with self._database.read() as connection:
            return await order_by_id(connection, order_id)

    async def page(self, wanted: OrderFilter, after: Place | None, limit: int) -> Sequence[Order]:
        """Return the newest `limit` orders after `after`; at the same cost however many there are."""
        async with self._database.read() as connection:
            return await orders_of(connection, page_query(wanted, after, limit))

    async def move(
        self, order_id: str, target: Status, note: str | None, at: datetime, event_id: str | None = None
    ) -> bool:
        """Change the status; moves of one order happen one after another.

        With `event_id` (another service's) False where it was applied before, or the order is `target` already.
        Raises OrderNotFound, IllegalMove.
        """
        async with self._database.begin() as connection:
            row = await self._lock(connection, order_id)
            if event_id is not None:
                applied = {"order_id": order_id, "event_id": event_id}
                if (await connection.execute(sa.select(APPLIED).filter_by(**applied))).first() is not None:
                    return False
                await connection.execute(APPLIED.insert().values(**applied))
                if row.status == target.value:
                    return False
            require_move(Status(row.status), target)
            number = await self._record(connection, order_id, target, at, note)
            columns = ORDERS.c
            await connection.execute(
                ORDERS.update()
                .where(columns.id == order_id)
                .values(
                    status=target.value,
                    last_event_id=number,
                    version=columns.version + 1,
                    # Where somebody writes the metadata file, they find out and write it again.
                    metadata_due_at=sa.func.coalesce(columns.metadata_due_at, at),
                )
            )
        return True

    async def delete(self, order: Order, orphan_due_at: datetime) -> bool:
        """Remove the order, and enter its objects among the orphans.

        False where it awaits another payment than when it was read. Raises OrderNotFound, OrderPaid.
        """
        async with self._database.begin() as connection:
            row = await self._lock(connection, order.id)
            status = Status(row.status)
            require_deletable(status)
            if status is Status.AWAITING_PAYMENT and row.last_event_id != order.last_event_id:
                return False
            await connection.execute(EVENTS.delete().where(EVENTS.c.order_id == order.id))
            await connection.execute(ORDERS.delete().where(ORDERS.c.id == order.id))
            await connection.execute(
                ORPHANS.insert().values(
                    order_id=order.id, user_id=row.user_id, due_at=orphan_due_at, doomed=True, passes=0
                )
            )
        return True

    async def events(self, order_id: str, after: int, limit: int) -> Sequence[OrderEvent] | None:
        """Return the events with ids above `after`, the oldest first; None where the order is no more."""
        columns = EVENTS.c
        query = sa.select(EVENTS).where(columns.order_id == order_id, columns.id > after)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(columns.id).limit(limit))).all()
            if not rows:
                known = await connection.scalar(sa.select(ORDERS.c.id).where(ORDERS.c.id == order_id))
                return None if known is None else []
        return [_event(row) for row in rows]

    async def current(self, order_id: str) -> OrderEvent | None:
        """Return the event of the present status."""
        query = sa.select(EVENTS).join(ORDERS, ORDERS.c.last_event_id == EVENTS.c.id).where(ORDERS.c.id == order_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _event(row)

    async def latest(self, order_ids: Sequence[str]) -> Mapping[str, int]:
        """Return the newest event's id of each order that there is."""
        found: dict[str, int] = {}
        query = sa.select(ORDERS.c.id, ORDERS.c.last_event_id)
        async with self._database.read() as connection:
            for start in range(0, len(order_ids), IDS_AT_ONCE):
                part = order_ids[start : start + IDS_AT_ONCE]
                for row in await connection.execute(query.where(ORDERS.c.id.in_(part))):
                    found[row.id] = row.last_event_id
        return found

    @staticmethod
    async def _lock(connection: AsyncConnection, order_id: str) -> sa.Row[Any, Any, Any]:
        query = sa.select(ORDERS.c.status, ORDERS.c.user_id, ORDERS.c.last_event_id).where(ORDERS.c.id == order_id)
        row = (await connection.execute(query.with_for_update())).first()
        if row is None:
            raise OrderNotFound
        return row

    async def _record(
        self, connection: AsyncConnection, order_id: str, status: Status, at: datetime, note: str | None
    ) -> int:
        """Insert the event, and the message that tells of it; return the event's id."""
        event = {"order_id": order_id, "status": status.value, "at": at, "note": note}
        result = await connection.execute(EVENTS.insert().values(**event).returning(EVENTS.c.id))
        if self._with_webhooks:
            body = {"type": "order.status", "timestamp": rfc3339(at), "data": {**event, "at": rfc3339(at)}}
            await connection.execute(
                OUTBOX.insert().values(
                    message_id=f"msg_{uuid4().hex}",
                    order_id=order_id,
                    body=json.dumps(body, ensure_ascii=False).encode(),
                    created_at=at,
                    due_at=at,
                    attempts=0,
                )
            )
        return int(result.scalar_one())
