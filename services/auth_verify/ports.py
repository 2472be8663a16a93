"""What auth-verify needs from outside; where one cannot be reached its calls raise DependencyDown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from services.auth_verify.model import (
    Failures,
    Member,
    Members,
    Organization,
    RefreshToken,
    Role,
    SigningKey,
    Use,
    User,
)


class Users(Protocol):
    """The users; usernames and emails share one namespace, so that nobody's username is another's email."""

    async def add(self, user: User) -> None:
        """Keep a new user; raises Conflict (`user_exists`) where its username or email is taken."""

    async def find(self, login: str) -> User | None:
        """Return the user whose username or email has this login key."""

    async def get(self, user_id: str) -> User | None:
        """Return the user with this id."""


class Sessions(Protocol):
    """Sessions, each a family of refresh tokens of which the last is unused."""

    async def open(self, first: RefreshToken, *, now: datetime) -> None:
        """Begin the session of `first`, and forget what of this user's has expired by itself."""

    async def find(self, digest: str) -> RefreshToken | None:
        """Return the token with this digest."""

    async def rotate(self, digest: str, successor_digest: str, *, now: datetime, expires_at: datetime) -> Rotation:
        """Judge a use of the token, and on its first keep the successor; uses of one session happen one after another."""

    async def end(self, sid: str) -> None:
        """Forget the session and all its tokens."""


Rotation = tuple[Use, RefreshToken] | None  # None: there is no such token


class SigningKeys(Protocol):
    """The key pairs that users' tokens are signed with; private keys are sealed where they are kept."""

    async def load(self, algorithm: str) -> Sequence[SigningKey]:
        """Return the algorithm's keys, the oldest first."""

    async def add_first(self, current: SigningKey, following: SigningKey) -> None:
        """Keep the first two keys; where another process was faster, its keys stay and these are dropped."""

    async def rotate(self, following: SigningKey, *, now: datetime, retired_before: datetime) -> None:
        """Retire the current key, activate the next, keep `following` as the new next, drop what retired long ago.

        Raises Conflict where another process rotates at the same moment.
        """


class Passwords(Protocol):
    """Password hashing that never holds up the event loop."""

    async def hash(self, password: str) -> str:
        """Return a salted hash; raises Unavailable where too many wait."""

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Compare; without a hash it takes as long and is False. Raises Unavailable where too many wait."""


class FailedLogins(Protocol):
    """How many logins failed in the last quarter of an hour; `account` is a login key, whether it exists or not."""

    async def count(self, account: str, address: str) -> Failures:
        """Return the counts; never raises: a login must not depend on it."""

    async def add(self, account: str, address: str) -> None:
        """Count one failure."""

    async def forget(self, account: str, address: str) -> None:
        """Forget the failures from this address, after a success."""


class Organizations(Protocol):
    """Organisations and their members."""

    async def add(self, organization: Organization, owner: Member) -> None:
        """Keep a new organisation with its first owner."""

    async def of_user(self, user_id: str) -> Sequence[tuple[Organization, Role]]:
        """Return the user's organisations with the user's role in each, the oldest first."""

    async def get(self, organization_id: str) -> tuple[Organization, Members] | None:
        """Return the organisation and its members, in the order they joined."""

    async def change_members(self, organization_id: str, change: Callable[[Members], Members]) -> Members:
        """Replace the members by what `change` makes of them, while nobody else changes them; return the new ones.

        An organisation that does not exist has no members. Whatever `change` raises leaves all as it was.
        """
