"""The outbox of order moves: queued with what causes them, sent until the order service took them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.checkout.adapters.sql.tables import MOVES
from services.checkout.model.sessions import OrderMove
from services.checkout.ports import QueuedMove
from shared.persistence.engine import Database

T = MOVES.c
CLAIM_S = 10.0


async def queue_move(connection: AsyncConnection, row_id: str, move: OrderMove, now: datetime) -> None:
    """Add the move in the caller's transaction; one that is there already stays as it is."""
    if await connection.scalar(sa.select(T.seq).where(T.event_id == move.event_id)) is not None:
        return
    await connection.execute(
        MOVES.insert().values(
            event_id=move.event_id,
            row_id=row_id,
            order_id=move.order_id,
            status=move.status,
            note=move.note,
            attempts=0,
            next_try_at=now,
        )
    )


class SqlMoves:
    """`Moves` over SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def are_queued(self, order_id: str) -> bool:
        """Look for one."""
        query = sa.select(T.seq).where(T.order_id == order_id, T.next_try_at.is_not(None)).limit(1)
        async with self._database.read() as connection:
            return await connection.scalar(query) is not None

    async def claim_due(self, now: datetime, limit: int, *, order_id: str | None = None) -> Sequence[QueuedMove]:
        """Take due moves; of each order the oldest alone, so that they arrive in their order."""
        older = MOVES.alias()
        due = (
            sa.select(T.seq)
            .where(
                *(
                    (T.next_try_at <= now,)
                    if order_id is None
                    else (T.order_id == order_id, T.next_try_at.is_not(None))
                ),
                ~sa.exists().where(
                    older.c.order_id == T.order_id, older.c.seq < T.seq, older.c.next_try_at.is_not(None)
                ),
            )
            .order_by(T.next_try_at)
            .limit(limit)
            .with_for_update(skip_locked=True, of=MOVES)
        )
        async with self._database.begin() as connection:
            ids = list(await connection.scalars(due))
            if not ids:
                return []
            claim = (
                MOVES.update()
                .where(T.seq.in_(ids))
                .values(next_try_at=now + timedelta(seconds=CLAIM_S), attempts=T.attempts + 1)
                .returning(T.row_id, T.attempts, T.event_id, T.order_id, T.status, T.note)
            )
            return [
                QueuedMove(found.row_id, found.attempts, OrderMove(*found[2:]))
                for found in await connection.execute(claim)
            ]

    async def put_off(self, event_id: str, until: datetime | None) -> None:
        """Try the move again then; None where it is done."""
        async with self._database.begin() as connection:
            await connection.execute(MOVES.update().where(T.event_id == event_id).values(next_try_at=until))
