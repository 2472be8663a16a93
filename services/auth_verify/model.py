"""Users, refresh tokens, signing keys and organisations: the entities, and the rules they keep."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import Any
from uuid import UUID

from shared.auth.access_tokens import ADMIN
from shared.errors import Conflict, Forbidden, NotFound, Unauthorized

MIN_PASSWORD = 12
REPLAY_WINDOW = timedelta(seconds=10)
FREE_FAILURES = 3
MAX_DELAY_S = 5.0


def parse_id(text: str) -> str:
    """Return a user's or an organisation's id as it is kept; a malformed one becomes empty, which no user has."""
    try:
        return str(UUID(text)) if len(text) == 36 else ""
    except ValueError:
        return ""


def normal_password(password: str) -> str:
    """Return the one spelling that is hashed, whatever keyboard typed it (NIST SP 800-63B section 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who registered here."""

    id: str
    username: str
    email: str
    roles: tuple[str, ...]
    created_at: datetime
    password_hash: str = field(repr=False)
    disabled: bool = False

    @property
    def is_acting_admin(self) -> bool:
        return ADMIN in self.roles and not self.disabled

    def but(self, *, roles: tuple[str, ...] | None = None, disabled: bool | None = None) -> User:
        """Return the user with these roles, and disabled or not, where they are given."""
        roles = self.roles if roles is None else roles
        return replace(self, roles=roles, disabled=self.disabled if disabled is None else disabled)


@dataclass(frozen=True, slots=True)
class Erasure:
    """Somebody who is being erased: `user_id` is the `sub`, `username` empty where it is not known."""

    user_id: str
    username: str
    requested_at: datetime
    due_at: datetime
    tries: int


def require_an_admin(changed: User, acting_admins: Collection[str]) -> User:
    """Return the changed user; raises Conflict where nobody of `acting_admins` (ids, before the change) would be left."""
    if acting_admins == {changed.id} and not changed.is_acting_admin:
        raise Conflict("The last admin stays an admin: make somebody else one first.", "last_admin")
    return changed


def wrong_credentials() -> Unauthorized:
    """Say the same whatever was wrong: name, password, or that the user is disabled."""
    return Unauthorized("The username or password is not right.", code="invalid_credentials")


def unknown_person() -> NotFound:
    """Say that there is nothing of somebody with this id in any service."""
    return NotFound("Nobody has this id.", "user_not_found")


def no_such_user() -> NotFound:
    return NotFound("There is no such user.", "user_not_found")


class Use(Enum):
    """What it means that a refresh token is presented."""

    FIRST = auto()
    REPLAYED = auto()  # the answer was lost, or two tabs asked at once: the same successor comes again
    REUSED = auto()  # two parties hold it: one of them stole it
    EXPIRED = auto()


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token as it is kept: by its digest, with the session (`sid`) it belongs to."""

    digest: str
    sid: str
    user_id: str
    expires_at: datetime
    used_at: datetime | None = None

    def use_at(self, now: datetime) -> Use:
        if self.used_at is not None:
            return Use.REPLAYED if now - self.used_at <= REPLAY_WINDOW else Use.REUSED
        return Use.FIRST if now < self.expires_at else Use.EXPIRED


Rotation = tuple[Use, RefreshToken] | None  # None: there is no such token


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair: next while not yet activated, current until it is retired, then published while its tokens live."""

    kid: str
    algorithm: str
    private_pem: bytes = field(repr=False)
    public_jwk: Mapping[str, Any]
    activated_at: datetime | None = None
    retired_at: datetime | None = None

    @property
    def is_current(self) -> bool:
        return self.activated_at is not None and self.retired_at is None


@dataclass(frozen=True, slots=True)
class Failures:
    """How many logins failed lately: for one account from one address, and for it from anywhere."""

    here: int = 0
    anywhere: int = 0

    @property
    def delay_here_s(self) -> float:
        """How long the next attempt from this address waits: half a second after three failures, then twice as long."""
        return min(MAX_DELAY_S, 0.5 * 2.0 ** min(self.here - FREE_FAILURES, 10)) if self.here >= FREE_FAILURES else 0.0

    @property
    def delay_anywhere_s(self) -> float:
        """How long any attempt waits for an account that many addresses try: a little, since its owner waits too."""
        return 2.0 if self.anywhere >= 100 else 1.0 if self.anywhere >= 20 else 0.0


class Role(StrEnum):
    """What a member may do: an owner everything, an admin everything but to owners, a member nothing but leave."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in an organisation; `user_id` may be another issuer's."""

    user_id: str
    username: str
    role: Role


@dataclass(frozen=True, slots=True)
class Organization:
    """A group of users that keeps objects together."""

    id: str
    name: str
    created_at: datetime


Members = Mapping[str, Member]  # by user id


def no_such_organization() -> NotFound:
    """Say the same of one that does not exist and of one that is not the caller's."""
    return NotFound("There is no such organization.", "organization_not_found")


def require_member(members: Members, user_id: str) -> Member:
    """Return the member; to a stranger the organisation does not exist: raises NotFound."""
    if user_id not in members:
        raise no_such_organization()
    return members[user_id]


def require_manager(members: Members, caller_id: str, *roles: Role) -> None:
    """Let owners and admins through, where one of `roles` is owner only owners; raises NotFound or Forbidden."""
    caller = require_member(members, caller_id)
    if caller.role is Role.MEMBER:
        raise Forbidden("Only an owner or an admin of the organization may do this.", "manager_required")
    if Role.OWNER in roles and caller.role is not Role.OWNER:
        raise Forbidden("Only an owner of the organization may do this.", "owner_required")


def _require_target(members: Members, user_id: str) -> Member:
    if user_id not in members:
        raise NotFound("The organization has no such member.", "member_not_found")
    return members[user_id]


def _with_an_owner(members: Members) -> Members:
    if not any(member.role is Role.OWNER for member in members.values()):
        raise Conflict("An organization keeps at least one owner.", "last_owner")
    return members


def with_member(members: Members, caller_id: str, member: Member) -> Members:
    """Add `member`; raises NotFound for a stranger's call, Forbidden, or Conflict where it is one already."""
    require_manager(members, caller_id, member.role)
    if member.user_id in members:
        raise Conflict("This user is a member already.", "already_member")
    return {**members, member.user_id: member}


def with_role(members: Members, caller_id: str, user_id: str, role: Role) -> Members:
    """Give the member another role; raises NotFound, Forbidden, or Conflict for the last owner."""
    require_manager(members, caller_id)
    member = _require_target(members, user_id)
    require_manager(members, caller_id, member.role, role)
    return _with_an_owner({**members, user_id: replace(member, role=role)})


def without_member(members: Members, caller_id: str, user_id: str) -> Members:
    """Take the member out; everybody may leave. Raises NotFound, Forbidden, or Conflict for the last owner."""
    require_member(members, caller_id)
    if user_id != caller_id:
        require_manager(members, caller_id)
        require_manager(members, caller_id, _require_target(members, user_id).role)
    return _with_an_owner({key: member for key, member in members.items() if key != user_id})
