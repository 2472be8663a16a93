"""Webhooks: those that wait to be sent, and what became of the others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.planter_orders.adapters.sql.changes import count, deliveries_counter
from services.planter_orders.adapters.sql.tables import IS_PENDING, OUTBOX
from services.planter_orders.model.deliveries import Attempt, Delivery, DeliveryNotFound, DeliveryState, OutgoingWebhook
from shared.persistence.engine import Database

T = OUTBOX.c


class Outbox:
    """Messages by the order of the changes they tell of."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
            .with_for_update(skip_locked=True, of=OUTBOX)
        )
        async with self._database.begin() as connection:
            numbers = list(await connection.scalars(due))
            claim = OUTBOX.update().where(T.seq.in_(numbers)).values(due_at=until, attempts=T.attempts + 1)
            columns = (T.seq, T.message_id, T.order_id, T.body, T.tried_since, T.attempts - T.attempts_before)
            taken = await connection.execute(claim.returning(*columns)) if numbers else ()
            return [OutgoingWebhook(*row) for row in taken]

    async def finish(self, seq: int, state: DeliveryState, attempt: Attempt) -> None:
        """Send the message no more, for it was taken or is given up."""
        async with self._database.begin() as connection:
            await self._set_state(connection, T.seq == seq, state, **_found(attempt))

    async def put_off(self, seq: int, until: datetime, attempt: Attempt) -> None:
        """Let the message be taken again then."""
        async with self._database.begin() as connection:
            await connection.execute(OUTBOX.update().where(T.seq == seq).values(due_at=until, **_found(attempt)))

    async def page(self, state: DeliveryState | None, before: int | None, limit: int) -> Sequence[Delivery]:
        """Return the newest `limit` deliveries, those below the number `before`."""
        columns = [T[name] for name in Delivery.__dataclass_fields__]
        query = sa.select(*columns).order_by(T.seq.desc()).limit(limit)
        if state is not None:
            query = query.where(T.state == state.value)
        if before is not None:
            query = query.where(T.seq < before)
        async with self._database.read() as connection:
            return [_delivery(row) for row in await connection.execute(query)]

    async def resend(self, message_id: str, now: datetime) -> Delivery:
        """Send the message again from now on, whatever became of it. Raises DeliveryNotFound."""
        async with self._database.begin() as connection:
            ours = T.message_id == message_id
            again = {"due_at": now, "tried_since": now, "attempts_before": T.attempts}
            await self._set_state(connection, ours, DeliveryState.PENDING, **again)
            columns = [T[name] for name in Delivery.__dataclass_fields__]
            return _delivery((await connection.execute(sa.select(*columns).where(ours))).one())

    async def forget_old(self, before: datetime) -> None:
        """Forget what was created before then and is not pending."""
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
