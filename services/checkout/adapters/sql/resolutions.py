"""Decisions about payments that needed review; none is ever changed or removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

import sqlalchemy as sa

from services.checkout.adapters.sql.order_updates import queue_order_update
from services.checkout.adapters.sql.refunds import given_back, is_asking, lock
from services.checkout.adapters.sql.tables import REFUNDS, RESOLUTIONS, SESSIONS
from services.checkout.metrics import count_move
from services.checkout.model.payments import Action, Resolution
from services.checkout.model.refusals import not_in_review
from services.checkout.model.sessions import Changes, CheckoutSession, OrderUpdate
from shared.errors import Conflict
from shared.persistence.engine import Repository

T = RESOLUTIONS.c


class SqlResolutions(Repository):
    """What was decided, in the transaction that does it."""

    async def record(
        self, row: CheckoutSession, resolution: Resolution, changes: Changes, order_update: OrderUpdate | None
    ) -> None:
        """Write the decision, change the row and queue the order's update: all of it or nothing.

        Raises Conflict where the row is not as `row` any more, where it is to be fulfilled while all of it is being given
        back, and where it is to count as given back while some of it is not.
        """
        async with self._database.begin() as connection:
            await lock(connection, row)
            left = (row.charged_amount or 0) - await given_back(connection, row.id)
            if resolution.action is Action.FULFIL:
                if row.charged_amount and left <= 0:
                    raise Conflict("This payment is being given back, and cannot be fulfilled.", "refund_under_way")
            elif left > 0 or await is_asking(connection, row.id):
                raise Conflict("The payment is not given back whole yet. Please try again.", "refund_incomplete")
            where = [SESSIONS.c.id == row.id, SESSIONS.c.state == row.state, SESSIONS.c.review_reason.is_not(None)]
            if resolution.action is Action.FULFIL:
                where.append(SESSIONS.c.review_reason == resolution.reason)
            if not (await connection.execute(SESSIONS.update().where(*where).values(**changes))).rowcount:
                raise not_in_review()
            await connection.execute(REFUNDS.update().where(REFUNDS.c.row_id == row.id).values(answered=True))
            await connection.execute(
                RESOLUTIONS.insert().values(
                    id=uuid4().hex,
                    row_id=row.id,
                    action=resolution.action,
                    note=resolution.note,
                    reason=resolution.reason,
                    resolved_by=resolution.by,
                    resolved_at=resolution.at,
                )
            )
            if order_update is not None:
                await queue_order_update(connection, row.id, order_update, resolution.at, again=True)
        count_move(row, replace(row, **changes))

    async def of(self, row_ids: Sequence[str]) -> Mapping[str, Sequence[Resolution]]:
        """Return the decisions about each row that has some, oldest first."""
        columns = (T.row_id, T.action, T.note, T.reason, T.resolved_by, T.resolved_at)
        query = sa.select(*columns).where(T.row_id.in_(row_ids)).order_by(T.resolved_at, T.id)
        found: dict[str, list[Resolution]] = {}
        for row_id, action, *rest in await self._database.rows(query):
            found.setdefault(row_id, []).append(Resolution(Action(action), *rest))
        return found
