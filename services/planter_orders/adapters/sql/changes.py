"""What each change of an order does in its transaction.

It locks the order, makes a new version of it, and leaves an event, a message that tells of it, and the counters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.planter_orders.adapters.sql.tables import COUNTERS, EVENTS, ORDERS, ORPHANS, OUTBOX
from services.planter_orders.model.orders import OrderEvent, OrderNotFound, PhotoChange, PhotoEvent, StatusEvent
from services.planter_orders.model.status import Status
from shared.clock import rfc3339
from shared.errors import Unavailable

PHOTO_REQUESTS = "photo_requests"


def orders_counter(status: Status | str) -> str:
    """Name the counter of orders with this status."""
    return f"orders:{status}"


def deliveries_counter(state: str) -> str:
    """Name the counter of deliveries in this state."""
    return f"deliveries:{state}"


def event_of(row: sa.Row[Any]) -> OrderEvent:
    """Read a row of `planter_events`."""
    if row.what is None:
        return StatusEvent(row.id, row.order_id, Status(row.status), row.at, row.note)
    return PhotoEvent(row.id, row.order_id, row.filename, PhotoChange(row.what), row.at)


async def record(connection: AsyncConnection, event: OrderEvent, *, tell: bool) -> int:
    """Insert the event, and where somebody is told the message (to be counted too); return the id it gets."""
    values: dict[str, Any] = asdict(event)
    del values["id"]
    told = {**values, "at": rfc3339(event.at)}
    if isinstance(event, PhotoEvent):
        values["status"] = ""  # this column is not for photos
    number = await connection.scalar(EVENTS.insert().values(**values).returning(EVENTS.c.id))
    if tell:
        await _tell(connection, "order.photo" if isinstance(event, PhotoEvent) else "order.status", event, told)
    return int(number or 0)


async def count(connection: AsyncConnection, changes: Mapping[str, int]) -> None:
    """Add to counters, as the last thing in a transaction and in one order, so that no two wait for each other."""
    for name in sorted(changes):
        if changes[name]:
            add = COUNTERS.update().where(COUNTERS.c.name == name).values(total=COUNTERS.c.total + changes[name])
            await connection.execute(add)


async def _tell(connection: AsyncConnection, kind: str, event: OrderEvent, data: Mapping[str, Any]) -> None:
    body = {"type": kind, "timestamp": rfc3339(event.at), "data": data}
    await connection.execute(
        OUTBOX.insert().values(
            message_id=f"msg_{uuid4().hex}",
            order_id=event.order_id,
            body=json.dumps(body, ensure_ascii=False).encode(),
            created_at=event.at,
            tried_since=event.at,
            due_at=event.at,
            attempts=0,
        )
    )


async def lock_order(connection: AsyncConnection, order_id: str) -> Any:
    """Lock the order's row and return what changes are judged by. Raises OrderNotFound."""
    columns = ORDERS.c
    query = sa.select(columns.status, columns.user_id, columns.last_event_id, columns.open_requests)
    row = (await connection.execute(query.where(columns.id == order_id).with_for_update())).first()
    if row is None:
        raise OrderNotFound
    return row


async def change_order(connection: AsyncConnection, order_id: str, at: datetime, **values: Any) -> None:
    """Make a new version of the order; whoever writes its metadata file finds out and writes it again."""
    columns = ORDERS.c
    due_at = sa.func.coalesce(columns.metadata_due_at, at)
    update = ORDERS.update().where(columns.id == order_id)
    await connection.execute(update.values(**values, version=columns.version + 1, metadata_due_at=due_at))


async def end_upload(connection: AsyncConnection, order_id: str, filename: str = "") -> None:
    """Take an upload's entry from the orphans. Raises Unavailable where somebody took it: the bytes may be gone."""
    columns = ORPHANS.c
    ours = (columns.order_id == order_id, columns.filename == filename, columns.doomed.is_(False))
    if (await connection.execute(ORPHANS.delete().where(*ours))).rowcount != 1:
        raise Unavailable("The upload took too long to store. Please try again.", code="upload_lapsed")
