"""Orders out of their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.planter_orders.adapters.sql.tables import FILES, ORDERS
from services.planter_orders.model.orders import Order, Photo, Quality
from services.planter_orders.model.status import Status


def _photo(row: sa.Row[Any]) -> Photo:
    return Photo(
        row.filename,
        row.original_filename,
        row.content_type,
        row.size,
        row.width,
        row.height,
        row.sha256,
        None if row.warnings is None else Quality(tuple(row.warnings)),
    )


async def orders_of(connection: AsyncConnection, query: sa.Select[Any]) -> list[Order]:
    """Run a query for rows of `planter_orders`, and fetch the photos of all of them with one more."""
    rows = (await connection.execute(query)).all()
    photos: defaultdict[str, list[Photo]] = defaultdict(list)
    if rows:
        files = (
            sa.select(FILES)
            .where(FILES.c.order_id.in_([row.id for row in rows]))
            .order_by(FILES.c.order_id, FILES.c.position)
        )
        for file in await connection.execute(files):
            photos[file.order_id].append(_photo(file))
    return [
        Order(
            row.id,
            row.user_id,
            row.pet_name,
            row.pet_type,
            row.notes,
            row.created_at,
            tuple(photos[row.id]),
            Status(row.status),
            row.last_event_id,
            row.version,
        )
        for row in rows
    ]


async def order_by_id(connection: AsyncConnection, order_id: str) -> Order | None:
    """Return one order."""
    found: Sequence[Order] = await orders_of(connection, sa.select(ORDERS).where(ORDERS.c.id == order_id))
    return found[0] if found else None
