"""Users in SQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from services.auth_verify.adapters.sql.tables import LOGINS, USERS
from services.auth_verify.model import User
from shared.errors import Conflict
from shared.names import name_key
from shared.persistence.engine import Database


def _user(row: sa.Row[Any] | None) -> User | None:
    if row is None:
        return None
    return User(row.id, row.username, row.email, tuple(row.roles), row.created_at, row.password_hash)


class SqlUsers:
    """The users; usernames and emails share one namespace, so that nobody's username is another's email."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user: User) -> None:
        """Insert the user with its logins in one transaction; raises Conflict (`user_exists`) where one of them is taken."""
        row = {
            "id": user.id,
            "username": user.username,
            "email": user.email,
            "password_hash": user.password_hash,
            "roles": list(user.roles),
            "created_at": user.created_at,
        }
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
        """Return the user whose username or email has this name key."""
        async with self._database.read() as connection:
            query = sa.select(USERS).join(LOGINS).where(LOGINS.c.login == login)
            return _user((await connection.execute(query)).first())

    async def get(self, user_id: str) -> User | None:
        """Look the id up."""
        async with self._database.read() as connection:
            return _user((await connection.execute(sa.select(USERS).where(USERS.c.id == user_id))).first())

    async def replace_password_hash(self, user: User, password_hash: str) -> None:
        """Put another hash in the place of the one that `user` came with; where it is another already, that one stays."""
        kept = (USERS.c.id == user.id, USERS.c.password_hash == user.password_hash)
        async with self._database.begin() as connection:
            await connection.execute(sa.update(USERS).where(*kept).values(password_hash=password_hash))
