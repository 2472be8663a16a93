"""Sessions and their refresh tokens in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.auth_verify.adapters.sql.tables import REFRESH_TOKENS, SESSIONS, USERS
from services.auth_verify.model import RefreshToken, Rotation, Use
from shared.persistence.engine import Repository

TOKEN = sa.select(REFRESH_TOKENS, SESSIONS.c.user_id).join(SESSIONS)


def _token(row: sa.Row[Any] | None) -> RefreshToken | None:
    if row is None:
        return None
    return RefreshToken(row.digest, row.sid, row.user_id, row.expires_at, row.used_at)


class SqlSessions(Repository):
    """Sessions, each a family of refresh tokens of which the last is unused; a session's tokens go with it."""

    async def open(self, first: RefreshToken, *, now: datetime) -> bool:
        """Insert the session and its first token; the user's expired sessions are deleted on the way.

        The user's row is locked, so that disabling comes before or after: False where it came before.
        """
        expired = (SESSIONS.c.user_id == first.user_id) & (SESSIONS.c.expires_at < now)
        enabled = sa.select(USERS.c.id).where(USERS.c.id == first.user_id, ~USERS.c.disabled)
        async with self._database.begin() as connection:
            if (await connection.execute(enabled.with_for_update(read=True))).first() is None:
                return False
            await connection.execute(sa.delete(SESSIONS).where(expired))
            await connection.execute(
                sa.insert(SESSIONS), {"sid": first.sid, "user_id": first.user_id, "expires_at": first.expires_at}
            )
            await connection.execute(
                sa.insert(REFRESH_TOKENS),
                {"digest": first.digest, "sid": first.sid, "expires_at": first.expires_at},
            )
        return True

    async def of_user(self, user_id: str) -> Sequence[str]:
        async with self._database.read() as connection:
            return (await connection.scalars(sa.select(SESSIONS.c.sid).where(SESSIONS.c.user_id == user_id))).all()

    async def find(self, digest: str) -> RefreshToken | None:
        async with self._database.read() as connection:
            return _token((await connection.execute(TOKEN.where(REFRESH_TOKENS.c.digest == digest))).first())

    async def rotate(self, digest: str, successor_digest: str, *, now: datetime, expires_at: datetime) -> Rotation:
        """Judge a use of the token, and on its first keep the successor.

        The session is locked first: of simultaneous uses one is the first, the others are replays.
        """
        is_this = REFRESH_TOKENS.c.digest == digest
        sid = sa.select(REFRESH_TOKENS.c.sid).where(is_this).scalar_subquery()
        async with self._database.begin() as connection:
            # The session's row, not the token's: `end` takes them in this order too, so that they cannot deadlock.
            # The token is read by a second statement, which sees what was committed during the wait.
            await connection.execute(sa.select(SESSIONS.c.sid).where(SESSIONS.c.sid == sid).with_for_update())
            token = _token((await connection.execute(TOKEN.where(is_this))).first())
            if token is None:
                return None
            use = token.use_at(now)
            if use is Use.FIRST:
                await connection.execute(sa.update(REFRESH_TOKENS).where(is_this).values(used_at=now))
                await connection.execute(
                    sa.insert(REFRESH_TOKENS),
                    {"digest": successor_digest, "sid": token.sid, "expires_at": expires_at},
                )
                await connection.execute(
                    sa.update(SESSIONS).where(SESSIONS.c.sid == token.sid).values(expires_at=expires_at)
                )
                await connection.execute(
                    sa.delete(REFRESH_TOKENS).where(
                        REFRESH_TOKENS.c.sid == token.sid, REFRESH_TOKENS.c.expires_at < now
                    )
                )
            return use, token

    async def end(self, sid: str) -> None:
        """Delete the session, and by the foreign key its tokens."""
        await self._database.execute(sa.delete(SESSIONS).where(SESSIONS.c.sid == sid))
