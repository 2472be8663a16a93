"""Orders: read out of their rows, each change in one transaction with the event that tells of it; and those erased."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.planter_orders.adapters.sql.changes import (
    PHOTO_REQUESTS,
    change_order,
    count,
    deliveries_counter,
    end_upload,
    event_of,
    lock_order,
    orders_counter,
    record,
)
from services.planter_orders.adapters.sql.tables import (
    APPLIED,
    COUNTERS,
    EVENTS,
    FILES,
    HAS_OPEN_REQUEST,
    IS_PAID,
    IS_WARNED,
    NEWEST_EVENT,
    ORDERS,
    ORPHANS,
)
from services.planter_orders.model.orders import (
    DONE,
    NOT_SHIPPED,
    Order,
    OrderEvent,
    OrderFilter,
    Status,
    StatusEvent,
    Summary,
    folded,
    require_deletable,
    require_move,
)
from services.planter_orders.model.photos import NOBODY, Photo, PhotoRequest, Quality, RequestReason
from shared.http.cursors import Position
from shared.persistence.engine import Database, Repository

IDS_AT_ONCE = 500
METADATA_LEASE = timedelta(seconds=10)
"""How long who has taken a metadata file has to write it."""

Answered = Callable[[AsyncConnection], Awaitable[None]]
"""Called with the open transaction: keeps the answer where the order is kept."""
T = ORDERS.c
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


class OrderRepository(Repository):
    """Keeps orders; `with_webhooks` puts a message into the outbox with each event."""

    def __init__(self, database: Database, *, with_webhooks: bool) -> None:
        super().__init__(database)
        self._with_webhooks = with_webhooks

    async def add(self, order: Order, answered: Answered) -> None:
        """Keep a new order, end its upload's entry among the orphans, and let `answered` write in the same transaction.

        Its metadata file counts as taken by the caller, to be written now.

        Raises Unavailable where that entry was taken away meanwhile: the photos may be gone.
        """
        async with self._database.begin() as connection:
            await end_upload(connection, order.id)
            event_id = await record(
                connection, StatusEvent(0, order.id, order.status, order.created_at, None), tell=self._with_webhooks
            )
            await connection.execute(
                ORDERS.insert().values(
                    **{name: getattr(order, name) for name in ORDER_COLUMNS} | {"last_event_id": event_id},
                    status=order.status.value,
                    newest_event_id=event_id,
                    metadata_due_at=order.created_at + METADATA_LEASE,
                    photos_due_at=order.created_at,
                    photos_attempts=0,
                    pet_name_folded=None if order.pet_name is None else folded(order.pet_name),
                )
            )
            await connection.execute(
                FILES.insert(),
                [
                    {"order_id": order.id, "position": position, **columns_of(photo)}
                    for position, photo in enumerate(order.photos)
                ],
            )
            await answered(connection)
            await count(connection, {orders_counter(order.status): 1}, tell=self._with_webhooks)

    async def get(self, order_id: str) -> Order | None:
        async with self._database.read() as connection:
            return await order_by_id(connection, order_id)

    async def page(self, wanted: OrderFilter, after: Position | None, limit: int) -> Sequence[Order]:
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
            row = await lock_order(connection, order_id)
            if event_id is not None:
                applied = {"order_id": order_id, "event_id": event_id}
                if (await connection.execute(sa.select(APPLIED).filter_by(**applied))).first() is not None:
                    return False
                await connection.execute(APPLIED.insert().values(**applied))
                if row.status == target.value:
                    return False
            require_move(Status(row.status), target)
            number = await record(connection, StatusEvent(0, order_id, target, at, note), tell=self._with_webhooks)
            ends_requests = bool(row.open_requests) and target not in NOT_SHIPPED
            if ends_requests:  # nobody can answer them any more
                await connection.execute(FILES.update().where(FILES.c.order_id == order_id).values(**NO_REQUEST))
            await change_order(
                connection,
                order_id,
                at,
                status=target.value,
                last_event_id=number,
                newest_event_id=number,
                **({"open_requests": 0} if ends_requests else {}),
            )
            changes = {orders_counter(row.status): -1, orders_counter(target): 1}
            await count(
                connection,
                changes | ({PHOTO_REQUESTS: -row.open_requests} if ends_requests else {}),
                tell=self._with_webhooks,
            )
        return True

    async def delete(self, order: Order, orphan_due_at: datetime) -> bool:
        """Remove the order, and enter its objects among the orphans.

        False where it awaits another payment than when it was read. Raises OrderNotFound, OrderPaid.
        """
        async with self._database.begin() as connection:
            row = await lock_order(connection, order.id)
            status = Status(row.status)
            require_deletable(status)
            if status is Status.AWAITING_PAYMENT and row.last_event_id != order.last_event_id:
                return False
            await connection.execute(EVENTS.delete().where(EVENTS.c.order_id == order.id))
            await connection.execute(ORDERS.delete().where(ORDERS.c.id == order.id))
            orphan = {"order_id": order.id, "filename": "", "user_id": row.user_id}
            await connection.execute(ORPHANS.insert().values(**orphan, due_at=orphan_due_at, doomed=True, passes=0))
            await count(connection, {orders_counter(row.status): -1, PHOTO_REQUESTS: -row.open_requests})
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
        return [event_of(row) for row in rows]

    async def current(self, order_id: str) -> StatusEvent | None:
        """Return the present status, with the id of the newest event: a listener has seen all up to here."""
        query = (
            sa.select(EVENTS, NEWEST_EVENT)
            .join(ORDERS, ORDERS.c.last_event_id == EVENTS.c.id)
            .where(ORDERS.c.id == order_id)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        return StatusEvent(row.newest_event_id, row.order_id, Status(row.status), row.at, row.note)

    async def summary(self) -> Summary:
        """Return what there is to do; at the same cost however many orders there are."""
        async with self._database.read() as connection:
            return await summary_of(connection)

    async def latest(self, order_ids: Sequence[str]) -> Mapping[str, int]:
        found: dict[str, int] = {}
        query = sa.select(ORDERS.c.id, NEWEST_EVENT)
        async with self._database.read() as connection:
            for start in range(0, len(order_ids), IDS_AT_ONCE):
                part = order_ids[start : start + IDS_AT_ONCE]
                for row in await connection.execute(query.where(ORDERS.c.id.in_(part))):
                    found[row.id] = row.newest_event_id
        return found


class Erasures(Repository):
    """Changes of orders whose owner is erased; each call is one transaction."""

    async def detach(self, order: Order, at: datetime, orphan_due_at: datetime) -> bool:
        """Take the person from the order, and enter the person's folder of it among the orphans.

        What the books need stays: id, status, times, and the photos' entries; requests for other photos end, for nobody could
        answer them. False where the order was changed meanwhile. Raises OrderNotFound.
        """
        async with self._database.begin() as connection:
            row = await lock_order(connection, order.id)
            version = await connection.scalar(sa.select(T.version).where(T.id == order.id))
            if (row.user_id, version) != (order.user_id, order.version):
                return False
            nothing = dict.fromkeys(("pet_name", "pet_name_folded", "pet_type", "notes"))
            await change_order(connection, order.id, at, **nothing, user_id=NOBODY, open_requests=0)
            files = sa.update(FILES).where(FILES.c.order_id == order.id)
            await connection.execute(files.values(**NO_REQUEST, original_filename=FILES.c.filename))
            await connection.execute(sa.update(EVENTS).where(EVENTS.c.order_id == order.id).values(note=None))
            orphan = {"order_id": order.id, "filename": "", "user_id": order.user_id}
            await connection.execute(sa.insert(ORPHANS).values(**orphan, due_at=orphan_due_at, doomed=True, passes=0))
            await count(connection, {PHOTO_REQUESTS: -row.open_requests})
        return True

    async def done_with_photos(self, limit: int) -> Sequence[Order]:
        """Return orders of nobody that are made and sent, or paid back, and have photos still."""
        has_photos = sa.exists().where(FILES.c.order_id == T.id)
        query = sa.select(ORDERS).where(T.user_id == NOBODY, T.status.in_(sorted(DONE)), has_photos).limit(limit)
        async with self._database.read() as connection:
            return await orders_of(connection, query)

    async def forget_photos(self, order: Order, at: datetime) -> None:
        async with self._database.begin() as connection:
            await connection.execute(sa.delete(FILES).where(FILES.c.order_id == order.id))
            await change_order(connection, order.id, at, is_warned=False)
