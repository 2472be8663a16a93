"""Orders and their photos, read out of their rows, and the counters beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.planter_orders.adapters.sql.changes import PHOTO_REQUESTS, deliveries_counter, orders_counter
from services.planter_orders.adapters.sql.tables import (
    COUNTERS,
    EVENTS,
    FILES,
    HAS_OPEN_REQUEST,
    IS_PAID,
    IS_WARNED,
    ORDERS,
)
from services.planter_orders.model.orders import Order, OrderFilter, Status, Summary, folded
from services.planter_orders.model.photos import Photo, PhotoRequest, Quality, RequestReason
from shared.http.cursors import Position

NO_REQUEST = {"request_reason": None, "request_note": None, "requested_at": None}
# What is kept as it is.
PHOTO_COLUMNS = [field.name for field in fields(Photo) if field.name not in {"quality", "request"}]
ORDER_COLUMNS = [field.name for field in fields(Order) if field.name not in {"photos", "status"}]


def _matches(wanted: OrderFilter, after: Position | None) -> list[sa.ColumnElement[bool]]:
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
    if wanted.pet_name is not None:
        # Said for the planner: the index of names has no others.
        found.append(columns.pet_name_folded.is_not(None))
        found.append(columns.pet_name_folded.contains(folded(wanted.pet_name), autoescape=True))
    if wanted.has_open_request:
        found.append(HAS_OPEN_REQUEST)
    if wanted.is_warned:
        found.append(IS_WARNED)
    if after is not None:
        place = sa.tuple_(sa.literal(after.at, columns.created_at.type), sa.literal(after.id))
        found.append(sa.tuple_(columns.created_at, columns.id) < place)
    return found


def page_query(wanted: OrderFilter, after: Position | None, limit: int) -> sa.Select[Any]:
    """Return the query of one page: a range of one of the indexes, read backwards.

    Where a part of a name is looked for, the index of names is read instead of the orders until the page is full.
    """
    newest = (ORDERS.c.created_at.desc(), ORDERS.c.id.desc())
    matching = (*_matches(wanted, after),)
    if wanted.pet_name is None:
        return sa.select(ORDERS).where(*matching).order_by(*newest).limit(limit)
    found = sa.select(ORDERS.c.id).where(*matching).order_by(*newest).limit(limit)
    return sa.select(ORDERS).where(ORDERS.c.id.in_(found)).order_by(*newest)


def _photo(row: sa.Row[Any]) -> Photo:
    asked = (RequestReason(row.request_reason), row.request_note, row.requested_at) if row.request_reason else None
    return Photo(
        **{name: getattr(row, name) for name in PHOTO_COLUMNS},
        quality=None if row.warnings is None else Quality(tuple(row.warnings)),
        request=PhotoRequest(*asked) if asked else None,
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
            **{name: getattr(row, name) for name in ORDER_COLUMNS},
            photos=tuple(photos[row.id]),
            status=Status(row.status),
        )
        for row in rows
    ]


async def order_by_id(connection: AsyncConnection, order_id: str) -> Order | None:
    found: Sequence[Order] = await orders_of(connection, sa.select(ORDERS).where(ORDERS.c.id == order_id))
    return found[0] if found else None


async def summary_of(connection: AsyncConnection) -> Summary:
    """Read the counters, and the one order that an index has first."""
    counted: dict[str, int] = {row.name: row.total for row in await connection.execute(sa.select(COUNTERS))}
    columns = ORDERS.c
    first = sa.select(columns.id, columns.last_event_id).where(IS_PAID).order_by(columns.last_event_id).limit(1)
    oldest = first.subquery()
    query = sa.select(oldest.c.id, EVENTS.c.at).join(EVENTS, EVENTS.c.id == oldest.c.last_event_id)
    row = (await connection.execute(query)).first()
    return Summary(
        orders={status: counted.get(orders_counter(status), 0) for status in Status},
        oldest_paid=None if row is None else (row.id, row.at),
        photo_requests=counted.get(PHOTO_REQUESTS, 0),
        pending_deliveries=counted.get(deliveries_counter("pending"), 0),
        failed_deliveries=counted.get(deliveries_counter("failed"), 0),
    )


def columns_of(photo: Photo) -> dict[str, Any]:
    """Return a photo's columns but those of its quality and of a request."""
    return {name: getattr(photo, name) for name in PHOTO_COLUMNS}
