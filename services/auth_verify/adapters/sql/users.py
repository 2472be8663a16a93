"""Users in SQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth_verify.adapters.sql.tables import LOGINS, USERS
from services.auth_verify.model import User, no_such_user, require_an_admin
from shared.auth.access_tokens import ADMIN
from shared.errors import Conflict
from shared.http.cursors import Position
from shared.names import name_key
from shared.persistence.engine import Repository


def _user(row: sa.Row[Any] | None) -> User | None:
    return _known(row) if row else None


def _known(row: sa.Row[Any]) -> User:
    roles = tuple(row.roles)
    return User(row.id, row.username, row.email, roles, row.created_at, row.password_hash, disabled=row.disabled)


async def locked_user(connection: AsyncConnection, user_id: str) -> tuple[User | None, Collection[str]]:
    """Return the user, and the ids of the acting admins, none of whom changes until the transaction ends."""
    holds_admin = sa.cast(USERS.c.roles, sa.Text).contains(f'"{ADMIN}"')
    admins = sa.select(USERS.c.id).where(holds_admin, ~USERS.c.disabled).order_by(USERS.c.id).with_for_update()
    acting = set((await connection.scalars(admins)).all())
    row = (await connection.execute(sa.select(USERS).where(USERS.c.id == user_id).with_for_update())).first()
    return _user(row), acting


class SqlUsers(Repository):
    """The users; usernames and emails share one namespace, so that no username is somebody else's email."""

    async def add(self, user: User) -> None:
        """Insert the user with its logins in one transaction; raises Conflict (`user_exists`) where one of them is taken."""
        row = asdict(user) | {"roles": list(user.roles)}
        logins = {name_key(user.username), name_key(user.email)}
        try:
            async with self._database.begin() as connection:
                await connection.execute(sa.insert(USERS), row)
                # In one order, so that two that cross each other do not deadlock.
                await connection.execute(
                    sa.insert(LOGINS), [{"login": login, "user_id": user.id} for login in sorted(logins)]
                )
        except IntegrityError:
            raise Conflict("This username or email is already taken.", "user_exists") from None

    async def find(self, login: str) -> User | None:
        async with self._database.read() as connection:
            query = sa.select(USERS).join(LOGINS).where(LOGINS.c.login == login)
            return _user((await connection.execute(query)).first())

    async def get(self, user_id: str) -> User | None:
        async with self._database.read() as connection:
            return _user((await connection.execute(sa.select(USERS).where(USERS.c.id == user_id))).first())

    async def page(self, query: str, *, after: Position | None, limit: int) -> Sequence[User]:
        """Return the users whose username or email has `query` in any spelling in it, newest first, from behind `after` on."""
        wanted = sa.select(USERS).order_by(USERS.c.created_at.desc(), USERS.c.id.desc()).limit(limit)
        if query:
            found = sa.select(LOGINS.c.user_id).where(LOGINS.c.login.contains(name_key(query), autoescape=True))
            wanted = wanted.where(USERS.c.id.in_(found))
        if after is not None:
            here = sa.tuple_(USERS.c.created_at, USERS.c.id)
            wanted = wanted.where(here < sa.tuple_(sa.literal(after.at, USERS.c.created_at.type), after.id))
        return [_known(row) for row in await self._database.rows(wanted)]

    async def change(self, user_id: str, *, roles: tuple[str, ...] | None, disabled: bool | None) -> User:
        """Give the user these roles, and disable or enable it, where they are given; return the user as it is then.

        Changes happen one after another, so that of several who make each other no admins one stays. Raises NotFound, or
        Conflict (`last_admin`).
        """
        async with self._database.begin() as connection:
            user, acting = await locked_user(connection, user_id)
            if user is None:
                raise no_such_user()
            changed = require_an_admin(user.but(roles=roles, disabled=disabled), acting)
            values = {"roles": list(changed.roles), "disabled": changed.disabled}
            await connection.execute(sa.update(USERS).where(USERS.c.id == user_id).values(values))
        return changed

    async def replace_password_hash(self, user: User, password_hash: str) -> None:
        """Put another hash in the place of the one that `user` came with; where it is another already, that one stays."""
        kept = (USERS.c.id == user.id, USERS.c.password_hash == user.password_hash)
        await self._database.execute(sa.update(USERS).where(*kept).values(password_hash=password_hash))
