"""The rows of checkout sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from services.checkout.adapters.sql.moves import queue_move
from services.checkout.adapters.sql.tables import SESSIONS
from services.checkout.model.sessions import (
    CHARGED,
    LIVE,
    Changes,
    CheckoutSession,
    ImageState,
    OrderMove,
    State,
)
from services.checkout.ports import AlreadyLive
from shared.clock import utc_now
from shared.persistence.engine import Database

T = SESSIONS.c
COLUMNS = [T[field.name] for field in fields(CheckoutSession)]
CLAIM_S = 30.0
PAGE = 200


def _row(found: sa.Row[Any]) -> CheckoutSession:
    values = dict(found._mapping)  # noqa: SLF001 - SQLAlchemy's documented name, kept apart from column names
    return CheckoutSession(
        **values | {"state": State(values["state"]), "image_state": ImageState(values["image_state"])}
    )


class SqlSessions:
    """`Sessions` over SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, row: CheckoutSession) -> None:
        """Add the row; the partial unique index decides between two at once."""
        try:
            async with self._database.begin() as connection:
                await connection.execute(SESSIONS.insert().values(**asdict(row)))
        except IntegrityError as error:
            raise AlreadyLive from error

    async def discard(self, row_id: str) -> None:
        """Delete it while Stripe was never asked."""
        async with self._database.begin() as connection:
            await connection.execute(SESSIONS.delete().where(T.id == row_id, T.state == State.CREATING))

    async def get(self, row_id: str) -> CheckoutSession | None:
        """Return the row by our id."""
        return await self.find(id=row_id)

    async def find(self, **columns: Any) -> CheckoutSession | None:
        """Return the newest that matches."""
        found = await self._select([T[name] == value for name, value in columns.items()], limit=1)
        return found[0] if found else None

    async def find_live(self, reuse_key: str) -> CheckoutSession | None:
        """Return the one the unique index allows."""
        found = await self._select([T.reuse_key == reuse_key, T.state.in_(LIVE)], limit=1)
        return found[0] if found else None

    async def of_order(self, order_id: str) -> Sequence[CheckoutSession]:
        """Return all of them."""
        return await self._select([T.order_id == order_id])

    async def charged(self) -> AsyncIterator[CheckoutSession]:
        """Read them in pages."""
        after = ""
        while True:
            query = sa.select(*COLUMNS).where(T.state.in_(CHARGED), T.id > after).order_by(T.id).limit(PAGE)
            async with self._database.read() as connection:
                rows = [_row(found) for found in await connection.execute(query)]
            for row in rows:
                yield row
            if len(rows) < PAGE:
                return
            after = rows[-1].id

    async def _select(self, where: list[Any], limit: int | None = None) -> list[CheckoutSession]:
        query = sa.select(*COLUMNS).where(*where).order_by(T.created_at.desc(), T.id).limit(limit)
        async with self._database.read() as connection:
            return [_row(found) for found in await connection.execute(query)]

    async def update(
        self, row: CheckoutSession, changes: Changes, *, move: OrderMove | None = None
    ) -> CheckoutSession | None:
        """Compare and swap on state and attempt, with the outbox in the same transaction."""
        change = (
            SESSIONS.update()
            .where(T.id == row.id, T.state == row.state, T.attempt == row.attempt)
            .values(**changes)
            .returning(*COLUMNS)
        )
        async with self._database.begin() as connection:
            found = (await connection.execute(change)).one_or_none()
            if found is not None and move is not None:
                await queue_move(connection, row.id, move, utc_now())
        return None if found is None else _row(found)

    async def lease(self, row_id: str, now: datetime, seconds: float) -> bool:
        """Take the lease in one statement."""
        take = (
            SESSIONS.update()
            .where(T.id == row_id, sa.or_(T.leased_until.is_(None), T.leased_until < now))
            .values(leased_until=now + timedelta(seconds=seconds))
        )
        async with self._database.begin() as connection:
            return (await connection.execute(take)).rowcount == 1

    async def release_lease(self, row_id: str) -> None:
        """Clear it."""
        async with self._database.begin() as connection:
            await connection.execute(SESSIONS.update().where(T.id == row_id).values(leased_until=None))

    async def claim_due(self, now: datetime, limit: int) -> Sequence[CheckoutSession]:
        """Take due rows, passing over those another process is taking (PostgreSQL; SQLite has one writer)."""
        due = (
            sa.select(T.id)
            .where(T.next_check_at <= now)
            .order_by(T.next_check_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._database.begin() as connection:
            ids = list(await connection.scalars(due))
            if not ids:
                return []
            claim = (
                SESSIONS.update()
                .where(T.id.in_(ids))
                .values(next_check_at=now + timedelta(seconds=CLAIM_S), checks=T.checks + 1)
                .returning(*COLUMNS)
            )
            return [_row(found) for found in await connection.execute(claim)]
