"""The rows of refunds and disputes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.checkout.adapters.sql.order_updates import queue_order_update
from services.checkout.adapters.sql.tables import DISPUTES, REFUNDS, SESSIONS
from services.checkout.metrics import count_move
from services.checkout.model.payments import (
    NOT_GIVEN_BACK,
    Dispute,
    ProviderRefund,
    Refund,
)
from services.checkout.model.refusals import refund_too_large
from services.checkout.model.sessions import CheckoutSession, State, given_back_changes, order_update_for
from shared.errors import Conflict
from shared.persistence.engine import Repository

T = REFUNDS.c
COLUMNS = [T[field.name] for field in fields(Refund)]


async def given_back(connection: AsyncConnection, row_id: str) -> int:
    """Return what was given back of a payment, or is being given back, in minor units."""
    total = sa.select(sa.func.coalesce(sa.func.sum(T.amount), 0)).where(
        T.row_id == row_id, T.status.not_in(NOT_GIVEN_BACK)
    )
    return int(await connection.scalar(total) or 0)


async def is_asking(connection: AsyncConnection, row_id: str) -> bool:
    """Tell whether a refund was decided, and Stripe has not confirmed it yet."""
    return await _newest(connection, T.row_id == row_id, T.status == "asking") is not None


async def lock(connection: AsyncConnection, row: CheckoutSession) -> tuple[str, str | None]:
    """Let what is decided about one session be decided one after the other (SQLite's transaction does so by itself).

    Returns the session's state and why it needs review, as they are now.
    """
    query = sa.select(SESSIONS.c.state, SESSIONS.c.review_reason).where(SESSIONS.c.id == row.id).with_for_update()
    state, reason = (await connection.execute(query)).one()
    return state, reason


async def _newest(connection: AsyncConnection, *where: Any) -> Refund | None:
    query = sa.select(*COLUMNS).where(*where).order_by(T.created_at.desc(), T.id).limit(1)
    found = (await connection.execute(query)).one_or_none()
    return None if found is None else Refund(*found)


class SqlRefunds(Repository):
    """Our rows of refunds, and of disputes."""

    async def reserve(self, row: CheckoutSession, amount: int | None, reason: str | None, now: datetime) -> Refund:
        """Return the refund to ask Stripe for: a new one, or the same that was asked for and never answered.

        `amount` None is all that is left; where nothing is, the latest refund. Raises NotAllowedValue for more than is left,
        Conflict where the session is not in the state of `row`, or not in review, any more: somebody decided about it.
        """
        counts = (T.row_id == row.id, T.status.not_in(NOT_GIVEN_BACK))
        async with self._database.begin() as connection:
            state, reason_now = await lock(connection, row)
            if state != row.state or (row.needs_review and reason_now is None):
                raise Conflict("The payment changed meanwhile. Please look at it again.", "payment_changed")
            left = (row.charged_amount or 0) - await given_back(connection, row.id)
            if amount is None:
                asking = (await _newest(connection, *counts, T.status == "asking")) if left <= 0 else None
                known = asking or (await _newest(connection, *counts) if left <= 0 else None)
            else:
                known = await _newest(
                    connection,
                    *counts,
                    T.amount == amount,
                    T.reason.is_not_distinct_from(reason),
                    T.answered.is_(False),
                )
            if known is not None:
                return known
            if left <= 0 or (amount or 0) > left:
                raise refund_too_large()
            refund = Refund(
                uuid4().hex, row.id, None, amount or left, row.charged_currency or row.currency, reason, "asking", 0
            )
            await connection.execute(REFUNDS.insert().values(**asdict(refund), answered=False, created_at=now))
            return refund

    async def next_attempt(self, refund: Refund) -> Refund:
        """Give the refund another key, once for all who ask."""
        async with self._database.begin() as connection:
            await connection.execute(
                REFUNDS.update().where(T.id == refund.id, T.attempt == refund.attempt).values(attempt=T.attempt + 1)
            )
            return await _newest(connection, T.id == refund.id) or refund

    async def answered(self, refund_id: str) -> None:
        await self._database.execute(REFUNDS.update().where(T.id == refund_id).values(answered=True))

    async def sync(
        self,
        row: CheckoutSession,
        seen: Sequence[ProviderRefund],
        now: datetime,
        *,
        ends_review: bool = False,
        refused: str | None = None,
    ) -> CheckoutSession:
        """Write what Stripe says of all refunds of a session, and queue the order's update once all is given back.

        That ends a review where `ends_review`, and where nobody of ours is deciding it. Our refund `refused` counts no more
        unless Stripe has it: nobody sees it missing in between.
        """
        async with self._database.begin() as connection:
            state, reason = await lock(connection, row)
            row = replace(row, state=State(state), review_reason=reason)
            for refund in seen:
                await self._write(connection, row, refund, now)
            if refused is not None:
                ours = REFUNDS.update().where(T.id == refused, T.refund_id.is_(None))
                await connection.execute(ours.values(status="refused"))
            total = await given_back(connection, row.id)
            changes: dict[str, Any] = {"refunded_amount": total}
            if row.state is State.REFUNDED and total < (row.charged_amount or 0):
                changes["review_reason"] = "The refund of this payment failed."
            is_back = total >= (row.charged_amount or 1) and not await is_asking(connection, row.id)
            if is_back and row.needs_review and (ends_review or not await self._is_awaited(connection, row.id)):
                changes |= given_back_changes(row, now)
            await connection.execute(SESSIONS.update().where(SESSIONS.c.id == row.id).values(**changes))
            # An order that was never told that it is paid, or did not take it, can be paid anew.
            status = "refunded" if row.state is State.PAID and not row.order_waits else "pending"
            update = order_update_for(row, status, "The payment was given back.")
            if update is not None and is_back:
                await queue_order_update(connection, row.id, update, now)
        changed = replace(row, **changes)
        count_move(row, changed)
        return changed

    @staticmethod
    async def _is_awaited(connection: AsyncConnection, row_id: str) -> bool:
        """Tell whether somebody asked for a refund and does not know yet that it was made."""
        counts = (T.row_id == row_id, T.status.not_in(NOT_GIVEN_BACK), T.answered.is_(False))
        return await _newest(connection, *counts) is not None

    @staticmethod
    async def _write(connection: AsyncConnection, row: CheckoutSession, seen: ProviderRefund, now: datetime) -> None:
        known = await _newest(connection, sa.or_(T.refund_id == seen.id, T.id == (seen.our_id or "")))
        facts = {"refund_id": seen.id, "amount": seen.amount, "currency": seen.currency, "status": seen.status}
        if known is not None:
            await connection.execute(REFUNDS.update().where(T.id == known.id).values(**facts))
            return
        own = {"id": uuid4().hex, "row_id": row.id, "reason": None, "answered": True, "attempt": 0, "created_at": now}
        await connection.execute(REFUNDS.insert().values(**facts, **own))

    async def record_dispute(self, row: CheckoutSession, dispute: Dispute, now: datetime) -> None:
        facts = {name: getattr(dispute, name) for name in ("amount", "currency", "reason", "status")}
        async with self._database.begin() as connection:
            await lock(connection, row)
            changed = await connection.execute(
                DISPUTES.update().where(DISPUTES.c.id == dispute.id).values(**facts, seen_at=now)
            )
            if not changed.rowcount:
                await connection.execute(DISPUTES.insert().values(id=dispute.id, row_id=row.id, **facts, seen_at=now))
