"""The outbox of erasures: one row for each person who is being erased."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth_verify.adapters.sql.tables import ERASURES, LOGINS, MEMBERS, ORGANIZATIONS, SESSIONS, USERS
from services.auth_verify.adapters.sql.users import locked_user
from services.auth_verify.model import Erasure, Role, require_an_admin
from shared.persistence.engine import Repository

COLUMNS = [ERASURES.c[field.name] for field in fields(Erasure)]
BEFORE_OTHERS = sa.case((MEMBERS.c.role == Role.ADMIN.value, 0), else_=1)


class SqlErasures(Repository):
    """Keeps the outbox, and takes the person out of our own tables."""

    async def begin(self, erasure: Erasure) -> bool:
        """Keep the erasure, and disable the user in the same transaction; twice is once.

        Returns whether there is such a user, or was such an erasure before.
        Raises Conflict (`last_admin`). Who has no user row, being another issuer's, may be erased too.
        """
        insert = postgresql.insert if self._database.is_postgres else sqlite.insert
        async with self._database.begin() as connection:
            user, acting = await locked_user(connection, erasure.user_id)
            if user is not None:
                require_an_admin(user.but(disabled=True), acting)
                await connection.execute(sa.update(USERS).where(USERS.c.id == user.id).values(disabled=True))
            kept = await connection.execute(insert(ERASURES).values(asdict(erasure)).on_conflict_do_nothing())
        return user is not None or not kept.rowcount

    async def take_due(self, now: datetime, lease: timedelta, limit: int) -> Sequence[Erasure]:
        """Return erasures that are due, each to one of several who ask; without a word they are due again after `lease`."""
        due = sa.select(ERASURES.c.user_id).where(ERASURES.c.due_at <= now).order_by(ERASURES.c.due_at).limit(limit)
        taken = sa.update(ERASURES).values(due_at=now + lease, tries=ERASURES.c.tries + 1).returning(*COLUMNS)
        return [Erasure(*row) for row in await self._database.lease(due, taken)]

    async def forget_person(self, user_id: str) -> None:
        """Delete the user, its logins, sessions and memberships. An organisation gets another owner, or goes with its last.

        The name is free then, and goes from the erasure too: what is found under it later is the next person's.
        """
        async with self._database.begin() as connection:
            mine = sa.select(MEMBERS.c.organization_id).where(MEMBERS.c.user_id == user_id)
            lock = sa.select(ORGANIZATIONS.c.id).where(ORGANIZATIONS.c.id.in_(mine)).order_by(ORGANIZATIONS.c.id)
            for organization_id in (await connection.scalars(lock.with_for_update())).all():
                await _leave(connection, organization_id, user_id)
            for table in (SESSIONS, LOGINS):
                await connection.execute(sa.delete(table).where(table.c.user_id == user_id))
            await connection.execute(sa.delete(USERS).where(USERS.c.id == user_id))
            await connection.execute(sa.update(ERASURES).where(ERASURES.c.user_id == user_id).values(username=""))

    async def postpone(self, user_id: str, due_at: datetime) -> None:
        await self._database.execute(sa.update(ERASURES).where(ERASURES.c.user_id == user_id).values(due_at=due_at))

    async def finish(self, user_id: str) -> None:
        await self._database.execute(sa.delete(ERASURES).where(ERASURES.c.user_id == user_id))


async def _leave(connection: AsyncConnection, organization_id: str, user_id: str) -> None:
    in_it = MEMBERS.c.organization_id == organization_id
    await connection.execute(sa.delete(MEMBERS).where(in_it, MEMBERS.c.user_id == user_id))
    left = sa.select(MEMBERS.c.user_id, MEMBERS.c.role).where(in_it).order_by(BEFORE_OTHERS, MEMBERS.c.joined_at)
    rows = (await connection.execute(left)).all()
    if not rows:
        await connection.execute(sa.delete(ORGANIZATIONS).where(ORGANIZATIONS.c.id == organization_id))
    elif not any(row.role == Role.OWNER.value for row in rows):
        heir = sa.update(MEMBERS).where(in_it, MEMBERS.c.user_id == rows[0].user_id)
        await connection.execute(heir.values(role=Role.OWNER.value))
