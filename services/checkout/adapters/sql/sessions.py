"""The rows of checkout sessions, and of the events that Stripe tells of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from services.checkout.adapters.sql.order_updates import queue_order_update
from services.checkout.adapters.sql.tables import EVENTS, SESSIONS
from services.checkout.metrics import count_move
from services.checkout.model.payments import WebhookEvent
from services.checkout.model.sessions import (
    CHARGED,
    LIVE,
    Changes,
    CheckoutSession,
    ImageState,
    OrderUpdate,
    State,
)
from shared.app.erasure import ErasureRequest
from shared.clock import utc_now
from shared.errors import Conflict
from shared.http.cursors import Position
from shared.persistence.engine import Repository, UtcDateTime

T, E = SESSIONS.c, EVENTS.c
COLUMNS = [T[field.name] for field in fields(CheckoutSession)]
LEASE_S, EVENT_LEASE_S = 30.0, 15.0
PAGE = 200
NOBODY = ""  # and not NULL, which would show a row without an owner's token: no token's `sub` is empty


class AlreadyLive(Conflict):
    """Another live row has the same reuse key."""


def _row(found: sa.Row[Any]) -> CheckoutSession:
    values = dict(found._mapping)  # noqa: SLF001 - SQLAlchemy's documented name, kept apart from column names
    return CheckoutSession(
        **values | {"state": State(values["state"]), "image_state": ImageState(values["image_state"])}
    )


class SqlSessions(Repository):
    """Our rows. Every call is one transaction; DependencyDown("database") where there is none."""

    async def insert(self, row: CheckoutSession) -> None:
        """Add a row; raise AlreadyLive where a live one has its reuse key."""
        try:
            await self._database.execute(SESSIONS.insert().values(**asdict(row)))
        except IntegrityError as error:
            raise AlreadyLive from error
        count_move(None, row)

    async def erase(self, who: ErasureRequest) -> bool:
        """Take the person from the rows, which the books need; open sessions end with the orders they sell, or by themselves."""
        theirs = sa.update(SESSIONS).where(T.user_id == who.user_id)
        return not await self._database.execute(theirs.values(user_id=NOBODY))

    async def discard(self, row_id: str) -> None:
        await self._database.execute(SESSIONS.delete().where(T.id == row_id, T.state == State.CREATING))

    async def find(self, *where: sa.ColumnElement[bool], **columns: Any) -> CheckoutSession | None:
        query = sa.select(*COLUMNS).where(*where).filter_by(**columns).order_by(T.created_at.desc(), T.id).limit(1)
        rows = await self._database.rows(query)
        return _row(rows[0]) if rows else None

    async def find_live(self, reuse_key: str) -> CheckoutSession | None:
        """Return the row that is `creating`, `open` or `processing` under this key."""
        return await self.find(T.state.in_(LIVE), reuse_key=reuse_key)

    async def of_order(self, order_id: str) -> Sequence[CheckoutSession]:
        query = sa.select(*COLUMNS).where(T.order_id == order_id).order_by(T.created_at.desc(), T.id)
        return [_row(found) for found in await self._database.rows(query)]

    async def page(self, state: State | None, after: Position | None, limit: int) -> Sequence[CheckoutSession]:
        """Return up to `limit` rows that Stripe has a session of, newest first; what needs review has that state alone."""
        where: list[sa.ColumnElement[bool]] = [T.session_id.is_not(None)]
        in_review: list[sa.ColumnElement[bool]] = [T.review_reason.is_not(None), T.state.in_(CHARGED)]
        if state is State.NEEDS_REVIEW:
            where += in_review
        elif state in CHARGED:
            is_back = sa.and_(T.charged_amount > 0, T.refunded_amount >= T.charged_amount)
            refunded = sa.or_(T.state == State.REFUNDED, sa.and_(T.state == State.PAID, is_back))
            given = (
                refunded
                if state is State.REFUNDED
                else sa.and_(T.state == State.PAID, ~sa.func.coalesce(is_back, sa.false()))
            )
            where += [given, T.review_reason.is_(None)]
        elif state is not None:
            where.append(T.state == state)
        if after is not None:
            where.append(sa.tuple_(T.created_at, T.id) < sa.tuple_(sa.literal(after.at, UtcDateTime), after.id))
        query = sa.select(*COLUMNS).where(*where).order_by(T.created_at.desc(), T.id.desc()).limit(limit)
        return [_row(found) for found in await self._database.rows(query)]

    async def attention(self, late_since: datetime) -> tuple[int, int]:
        """Count what needs review, and what was to be looked at before then."""
        in_review = sa.select(sa.func.count()).where(T.review_reason.is_not(None), T.state.in_(CHARGED))
        late = sa.select(sa.func.count()).where(T.next_check_at < late_since)
        async with self._database.read() as connection:
            return (await connection.scalar(in_review)) or 0, (await connection.scalar(late)) or 0

    async def charged(self) -> AsyncIterator[CheckoutSession]:
        """Iterate over all rows that took money, in bounded memory."""
        after = ""
        while True:
            query = sa.select(*COLUMNS).where(T.state.in_(CHARGED), T.id > after).order_by(T.id).limit(PAGE)
            rows = [_row(found) for found in await self._database.rows(query)]
            for row in rows:
                yield row
            if len(rows) < PAGE:
                return
            after = rows[-1].id

    async def update(
        self, row: CheckoutSession, changes: Changes, *, order_update: OrderUpdate | None = None
    ) -> CheckoutSession | None:
        """Change the row and queue `order_update`, both or neither, if its state and attempt are still those of `row`.

        Returns the new row, or None where somebody else was faster.
        """
        change = (
            SESSIONS.update()
            .where(T.id == row.id, T.state == row.state, T.attempt == row.attempt)
            .values(**changes)
            .returning(*COLUMNS)
        )
        async with self._database.begin() as connection:
            found = (await connection.execute(change)).one_or_none()
            if found is not None and order_update is not None:
                await queue_order_update(connection, row.id, order_update, utc_now())
        changed = None if found is None else _row(found)
        if changed is not None:
            count_move(row, changed)
        return changed

    async def lease(self, row_id: str, now: datetime, seconds: float) -> bool:
        """Take the right to fulfil the row for a while; False where another has it."""
        take = (
            SESSIONS.update()
            .where(T.id == row_id, sa.or_(T.leased_until.is_(None), T.leased_until < now))
            .values(leased_until=now + timedelta(seconds=seconds))
        )
        return await self._database.execute(take) == 1

    async def release_lease(self, row_id: str) -> None:
        await self._database.execute(SESSIONS.update().where(T.id == row_id).values(leased_until=None))

    async def lease_due(self, now: datetime, limit: int) -> Sequence[CheckoutSession]:
        """Return rows whose `next_check_at` has come, put off so that no other process takes them too."""
        due = sa.select(T.id).where(T.next_check_at <= now).order_by(T.next_check_at).limit(limit)
        lease = SESSIONS.update().values(next_check_at=now + timedelta(seconds=LEASE_S), checks=T.checks + 1)
        return [_row(found) for found in await self._database.lease(due, lease.returning(*COLUMNS))]


class SqlEvents(Repository):
    """Webhook events, stored before they are acted on."""

    async def take(self, event: WebhookEvent, now: datetime) -> bool:
        """Keep the event; True where it is the caller's to act on, False where another acts on it or it is done."""
        values = {"id": event.id, "type": event.type, "hint": asdict(event), "received_at": now, "attempts": 1}
        try:
            leased_until = now + timedelta(seconds=EVENT_LEASE_S)
            await self._database.execute(EVENTS.insert().values(**values, next_try_at=leased_until))
        except IntegrityError:
            lease = self._lease(now).where(E.id == event.id, E.next_try_at <= now)
            return await self._database.execute(lease) == 1
        return True

    async def lease_due(self, now: datetime, limit: int) -> Sequence[WebhookEvent]:
        due = sa.select(E.id).where(E.next_try_at <= now).order_by(E.next_try_at).limit(limit)
        taken = await self._database.lease(due, self._lease(now).returning(E.hint))
        return [WebhookEvent(**found.hint) for found in taken]

    async def put_off(self, event_id: str, until: datetime | None) -> None:
        """Have the event acted on again then; None where it is done."""
        await self._database.execute(EVENTS.update().where(E.id == event_id).values(next_try_at=until))

    async def forget(self, before: datetime) -> None:
        await self._database.execute(EVENTS.delete().where(E.next_try_at.is_(None), E.received_at < before))

    @staticmethod
    def _lease(now: datetime) -> sa.Update:
        return EVENTS.update().values(next_try_at=now + timedelta(seconds=EVENT_LEASE_S), attempts=E.attempts + 1)
