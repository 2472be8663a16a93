"""Registering, and checking who somebody is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from services.auth_verify.adapters.argon2 import Argon2Passwords
from services.auth_verify.adapters.sql.users import SqlUsers
from services.auth_verify.model import User, no_such_user, normal_password, parse_id, wrong_credentials
from services.auth_verify.service.throttle import LoginThrottle
from shared.auth.access_tokens import ADMIN
from shared.clock import utc_now
from shared.errors import Forbidden, NotAllowedValue, Unavailable
from shared.http.cursors import Position
from shared.names import MAX_NAME_KEY, name_key


@dataclass(slots=True)
class AccountService:
    """The users and their passwords."""

    users: SqlUsers
    passwords: Argon2Passwords
    throttle: LoginThrottle
    now: Callable[[], datetime] = utc_now

    async def register(self, username: str, email: str, password: str, *, roles: tuple[str, ...] = ()) -> User:
        """Keep a new user; raises Conflict (`user_exists`), NotAllowedValue or Unavailable."""
        for name, value in (("username", username), ("email", email)):
            if len(name_key(value)) > MAX_NAME_KEY:
                raise NotAllowedValue.of(name, f"The {name} is too long.")
        password_hash = await self.passwords.hash(normal_password(password))
        user = User(str(uuid4()), username, email, roles, self.now(), password_hash)
        await self.users.add(user)
        return user

    async def authenticate(self, login: str, password: str, address: str) -> User:
        """Return the user; raises Unauthorized, in the same words and time whatever was wrong, or TooManyRequests."""
        await self.throttle.wait_turn(login, address)
        user = None if "\x00" in login else await self.users.find(name_key(login))
        matches = await self._matches(user, password) and user is not None and not user.disabled
        await self.throttle.note(login, address, success=matches)
        if user is None or not matches:
            raise wrong_credentials()
        return user

    async def require_password(self, user_id: str, password: str, address: str) -> User:
        """Return the user whose password this is; raises NotFound for another issuer's, Forbidden or TooManyRequests."""
        user = await self.users.get(user_id)
        if user is None:
            raise no_such_user()
        await self.throttle.wait_turn(user.username, address)
        matches = await self._matches(user, password)
        await self.throttle.note(user.username, address, success=matches)
        if not matches:
            raise Forbidden("The password is not right.", "wrong_password")
        return user

    async def require_still_admin(self, user_id: str) -> None:
        """Raise Forbidden where one of our users is no acting admin now, whatever a token of the last 15 minutes says."""
        user = await self.users.get(user_id)
        if user is not None and (user.disabled or ADMIN not in user.roles):
            raise Forbidden("This needs the role admin.")

    async def page(self, query: str, *, after: Position | None, limit: int) -> tuple[Sequence[User], Position | None]:
        """Return up to `limit` users with `query` in their username or email, newest first, and where more begin."""
        found = await self.users.page(query, after=after, limit=limit + 1)
        last = found[limit - 1] if len(found) > limit else None
        return found[:limit], Position(last.created_at, last.id) if last else None

    async def change(self, user_id: str, *, roles: tuple[str, ...] | None, disabled: bool | None) -> User:
        """Change a user; raises NotFound, or Conflict (`last_admin`)."""
        return await self.users.change(parse_id(user_id), roles=roles, disabled=disabled)

    async def _matches(self, user: User | None, password: str) -> bool:
        """Compare; a password of several spellings is compared twice, whoever's it is, and an old hash made anew."""
        normal, kept = normal_password(password), user.password_hash if user else None
        if await self.passwords.verify(normal, kept):
            return True
        if normal == password or not await self.passwords.verify(password, kept):
            return False
        if user is not None:  # hashed as typed, before passwords were normalised
            with suppress(Unavailable):  # the next time then
                await self.users.replace_password_hash(user, await self.passwords.hash(normal))
        return True
