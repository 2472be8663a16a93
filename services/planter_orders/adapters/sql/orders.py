"""Orders: each change in one transaction with the event that tells of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.planter_orders.adapters.sql.changes import (
    PHOTO_REQUESTS,
    change_order,
    count,
    end_upload,
    event_of,
    lock_order,
    orders_counter,
    record,
)
from services.planter_orders.adapters.sql.reading import (
    NO_REQUEST,
    ORDER_COLUMNS,
    columns_of,
    order_by_id,
    orders_of,
    page_query,
    summary_of,
)
from services.planter_orders.adapters.sql.tables import APPLIED, EVENTS, FILES, NEWEST_EVENT, ORDERS, ORPHANS
from services.planter_orders.model.orders import (
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
from shared.http.cursors import Position
from shared.persistence.engine import Database, Repository

IDS_AT_ONCE = 500
METADATA_LEASE = timedelta(seconds=10)
"""How long who has taken a metadata file has to write it."""

Answered = Callable[[AsyncConnection], Awaitable[None]]
"""Called with the open transaction: keeps the answer where the order is kept."""


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
