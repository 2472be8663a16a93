"""Webhook events, each acted on once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from services.checkout.adapters.sql.tables import EVENTS
from services.checkout.model.payments import WebhookEvent
from shared.persistence.engine import Database

T = EVENTS.c
CLAIM_S = 15.0


class SqlEvents:
    """Webhook events, stored before they are acted on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, event: WebhookEvent, now: datetime) -> bool:
        """Keep the event; True where it is the caller's to act on, False where another acts on it or it is done."""
        values = {"id": event.id, "type": event.type, "hint": asdict(event), "received_at": now, "attempts": 1}
        try:
            async with self._database.begin() as connection:
                claimed_until = now + timedelta(seconds=CLAIM_S)
                await connection.execute(EVENTS.insert().values(**values, next_try_at=claimed_until))
        except IntegrityError:
            async with self._database.begin() as connection:
                claim = self._claim(now).where(T.id == event.id, T.next_try_at <= now)
                return (await connection.execute(claim)).rowcount == 1
        return True

    async def claim_due(self, now: datetime, limit: int) -> Sequence[WebhookEvent]:
        """Return events that were stored and not done, claimed."""
        due = (
            sa.select(T.id)
            .where(T.next_try_at <= now)
            .order_by(T.next_try_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._database.begin() as connection:
            ids = list(await connection.scalars(due))
            if not ids:
                return []
            taken = await connection.scalars(self._claim(now).where(T.id.in_(ids)).returning(T.hint))
            return [WebhookEvent(**hint) for hint in taken]

    async def put_off(self, event_id: str, until: datetime | None) -> None:
        """Have the event acted on again then; None where it is done."""
        async with self._database.begin() as connection:
            await connection.execute(EVENTS.update().where(T.id == event_id).values(next_try_at=until))

    async def forget(self, before: datetime) -> None:
        """Remove events that were done and received before then."""
        async with self._database.begin() as connection:
            await connection.execute(EVENTS.delete().where(T.next_try_at.is_(None), T.received_at < before))

    @staticmethod
    def _claim(now: datetime) -> sa.Update:
        return EVENTS.update().values(next_try_at=now + timedelta(seconds=CLAIM_S), attempts=T.attempts + 1)
