"""What each change of an order does in its transaction.

It locks the order, makes a new version of it, and leaves an event, a message that tells of it, and the counters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.planter_orders.adapters.sql.tables import COUNTERS, EVENTS, IS_PENDING, ORDERS, ORPHANS, OUTBOX
from services.planter_orders.model.deliveries import Attempt, Delivery, DeliveryNotFound, DeliveryState, OutgoingWebhook
from services.planter_orders.model.orders import OrderEvent, OrderNotFound, PhotoChange, PhotoEvent, Status, StatusEvent
from shared.clock import rfc3339
from shared.errors import Unavailable
from shared.persistence.engine import Repository

PHOTO_REQUESTS = "photo_requests"
T = OUTBOX.c
TRIED_SINCE = sa.func.coalesce(T.tried_since, T.created_at)  # the release before leaves it empty
NEVER = datetime(9999, 12, 31, tzinfo=UTC)


def orders_counter(status: Status | str) -> str:
    return f"orders:{status}"


def deliveries_counter(state: str) -> str:
    return f"deliveries:{state}"


def event_of(row: sa.Row[Any]) -> OrderEvent:
    if row.what is None:
        return StatusEvent(row.id, row.order_id, Status(row.status), row.at, row.note)
    return PhotoEvent(row.id, row.order_id, row.filename, PhotoChange(row.what), row.at)


async def record(connection: AsyncConnection, event: OrderEvent, *, tell: bool) -> int:
    """Insert the event, and where somebody is told the message (to be counted too); return the id it gets."""
    values: dict[str, Any] = asdict(event)
    del values["id"]
    told = {**values, "at": rfc3339(event.at)}
    if isinstance(event, PhotoEvent):
        # Of no use here: the release before, which may read it beside this one, takes it for an event of the status.
        values["status"] = sa.select(ORDERS.c.status).where(ORDERS.c.id == event.order_id).scalar_subquery()
    number = await connection.scalar(EVENTS.insert().values(**values).returning(EVENTS.c.id))
    if tell:
        await _tell(connection, "order.photo" if isinstance(event, PhotoEvent) else "order.status", event, told)
    return int(number or 0)


async def count(connection: AsyncConnection, changes: Mapping[str, int], *, tell: bool = False) -> None:
    """Add to counters, as the last thing in a transaction and in one order, so that no two wait for each other.

    With `tell` there is a message of the change, which is counted too.
    """
    changes = {**changes, deliveries_counter("pending"): 1} if tell else changes
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


class Outbox(Repository):
    """Messages by the order of the changes they tell of."""

    async def take_due(self, now: datetime, until: datetime, limit: int) -> Sequence[OutgoingWebhook]:
        """Take messages that are due, of each order the oldest alone; others may take them again after `until`."""
        older = OUTBOX.alias()
        waits = older.c.state == sa.literal_column("'pending'")
        due = (
            sa.select(T.seq)
            .where(IS_PENDING, T.due_at <= now)
            .where(~sa.exists().where(waits, older.c.order_id == T.order_id, older.c.seq < T.seq))
            .order_by(T.due_at)
            .limit(limit)
        )
        lease = OUTBOX.update().values(due_at=until, attempts=T.attempts + 1)
        columns = (T.seq, T.message_id, T.order_id, T.body, TRIED_SINCE, T.attempts - T.attempts_before)
        return [OutgoingWebhook(*row) for row in await self._database.lease(due, lease.returning(*columns))]

    async def finish(self, seq: int, state: DeliveryState, attempt: Attempt) -> None:
        """Send the message no more, for it was taken or is given up."""
        async with self._database.begin() as connection:
            # Not due any more: the release before, which deletes what was taken, would send it again.
            await self._set_state(connection, T.seq == seq, state, due_at=NEVER, **_found(attempt))

    async def put_off(self, seq: int, until: datetime, attempt: Attempt) -> None:
        await self._database.execute(OUTBOX.update().where(T.seq == seq).values(due_at=until, **_found(attempt)))

    async def page(self, state: DeliveryState | None, before: int | None, limit: int) -> Sequence[Delivery]:
        """Return the newest `limit` deliveries, those below the number `before`."""
        columns = [T[name] for name in Delivery.__dataclass_fields__]
        query = sa.select(*columns).order_by(T.seq.desc()).limit(limit)
        if state is not None:
            query = query.where(T.state == state.value)
        if before is not None:
            query = query.where(T.seq < before)
        return [_delivery(row) for row in await self._database.rows(query)]

    async def resend(self, message_id: str, now: datetime) -> Delivery:
        """Send the message again from now on, whatever became of it. Raises DeliveryNotFound."""
        async with self._database.begin() as connection:
            ours = T.message_id == message_id
            again = {"due_at": now, "tried_since": now, "attempts_before": T.attempts}
            await self._set_state(connection, ours, DeliveryState.PENDING, **again)
            columns = [T[name] for name in Delivery.__dataclass_fields__]
            return _delivery((await connection.execute(sa.select(*columns).where(ours))).one())

    async def forget_old(self, before: datetime) -> None:
        async with self._database.begin() as connection:
            old = OUTBOX.delete().where(T.created_at < before, T.state != DeliveryState.PENDING.value)
            failed = [state for state in await connection.scalars(old.returning(T.state)) if state == "failed"]
            await count(connection, {deliveries_counter("failed"): -len(failed)})

    @staticmethod
    async def _set_state(connection: Any, which: sa.ColumnElement[bool], state: DeliveryState, **values: Any) -> None:
        was = await connection.scalar(sa.select(T.state).where(which).with_for_update())
        if was is None:
            raise DeliveryNotFound
        await connection.execute(OUTBOX.update().where(which).values(state=state.value, **values))
        if was != state:
            changes = {deliveries_counter(was): -1, deliveries_counter(state): 1}
            await count(connection, changes)


def _found(attempt: Attempt) -> dict[str, Any]:
    return {"tried_at": attempt.at, "last_status": attempt.status, "last_error": attempt.error}


def _delivery(row: sa.Row[Any]) -> Delivery:
    found = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row's names
    return Delivery(**{**found, "state": DeliveryState(found["state"])})
