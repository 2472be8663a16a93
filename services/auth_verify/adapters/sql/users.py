"""Users in SQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from services.auth_verify.adapters.sql.tables import LOGINS, USERS
from services.auth_verify.model import User, login_key
from shared.errors import Conflict
from shared.persistence.engine import Database


def _user(row: sa.Row[Any] | None) -> User | None:
    if row is None:
        return None
    return User(row.id, row.username, row.email, tuple(row.roles), row.created_at, row.password_hash)


class SqlUsers:
    """Keeps the users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user: User) -> None:
        """Insert the user with its logins in one transaction: the primary key decides who was first."""
        row = {
            "id": user.id,
            "username": user.username,
            "email": user.email,
            "password_hash": user.password_hash,
            "roles": list(user.roles),
            "created_at": user.created_at,
        }
        logins = {login_key(user.username), login_key(user.email)}
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
        """Look the login key up."""
        async with self._database.read() as connection:
            query = sa.select(USERS).join(LOGINS).where(LOGINS.c.login == login)
            return _user((await connection.execute(query)).first())

    async def get(self, user_id: str) -> User | None:
        """Look the id up."""
        async with self._database.read() as connection:
            return _user((await connection.execute(sa.select(USERS).where(USERS.c.id == user_id))).first())
