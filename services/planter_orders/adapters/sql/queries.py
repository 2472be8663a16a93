"""What is asked of the tables, and orders out of their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.planter_orders.adapters.sql.tables import FILES, ORDERS
from services.planter_orders.model.orders import Order, OrderFilter, Photo, Place, Quality
from services.planter_orders.model.status import Status


def _matches(wanted: OrderFilter, after: Place | None) -> list[sa.ColumnElement[bool]]:
    columns = ORDERS.c
    found: list[sa.ColumnElement[bool]] = []
    if wanted.user_id is not None:
        found.append(columns.user_id == wanted.user_id)
    if wanted.status is not None:
        found.append(columns.status == wanted.status.value)
    if wanted.since is not None:
        found.append(columns.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(columns.created_at <= wanted.until)
    if after is not None:
        place = sa.tuple_(sa.literal(after.created_at, columns.created_at.type), sa.literal(after.order_id))
        found.append(sa.tuple_(columns.created_at, columns.id) < place)
    return found


def page_query(wanted: OrderFilter, after: Place | None, limit: int) -> sa.Select[Any]:
    """Return the query of one page: a range of one of the indexes, read backwards."""
    columns = ORDERS.c
    return (
        sa.select(ORDERS)
        .where(*_matches(wanted, after))
        .order_by(columns.created_at.desc(), columns.id.desc())
        .limit(limit)
    )


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
