"""Webhooks that wait to be sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from services.planter_orders.adapters.sql.tables import OUTBOX
from shared.persistence.engine import Database

T = OUTBOX.c


@dataclass(frozen=True, slots=True)
class OutgoingWebhook:
    """A message that waits to be sent; `seq` rises in the order of the changes, `attempts` counts this one too."""

    seq: int
    message_id: str
    order_id: str
    body: bytes
    created_at: datetime
    attempts: int


class Outbox:
    """Webhooks that wait to be sent."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_due(self, now: datetime, until: datetime, limit: int) -> Sequence[OutgoingWebhook]:
        """Take messages that are due, of each order the oldest alone; others may take them again after `until`."""
        older = OUTBOX.alias()
        due = (
            sa.select(T.seq)
            .where(T.due_at <= now, ~sa.exists().where(older.c.order_id == T.order_id, older.c.seq < T.seq))
            .order_by(T.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True, of=OUTBOX)
        )
        async with self._database.begin() as connection:
            numbers = list(await connection.scalars(due))
            claim = OUTBOX.update().where(T.seq.in_(numbers)).values(due_at=until, attempts=T.attempts + 1)
            columns = (T.seq, T.message_id, T.order_id, T.body, T.created_at, T.attempts)
            taken = await connection.execute(claim.returning(*columns)) if numbers else ()
            return [OutgoingWebhook(*row) for row in taken]

    async def done(self, seq: int) -> None:
        """Forget the message."""
        async with self._database.begin() as connection:
            await connection.execute(OUTBOX.delete().where(T.seq == seq))

    async def put_off(self, seq: int, until: datetime) -> None:
        """Let the message be taken again then."""
        async with self._database.begin() as connection:
            await connection.execute(OUTBOX.update().where(T.seq == seq).values(due_at=until))
