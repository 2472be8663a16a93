"""The wire types of auth-verify."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from shared.parsing import PlainText, WireModel

EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*")
NOT_IN_USERNAMES = frozenset("/\\;%")
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _visible(text: str) -> str:
    if any(unicodedata.category(character) in INVISIBLE for character in text) or text != text.strip():
        raise ValueError("must not contain control characters, nor begin or end with a space")
    return text


def _username(text: str) -> str:
    # media-store makes keys and paths of it.
    if text.startswith(".") or not NOT_IN_USERNAMES.isdisjoint(text):
        raise ValueError("must not begin with a dot, nor contain / \\ ; or %")
    return text


def _email(text: str) -> str:
    if EMAIL.fullmatch(text) is None:
        raise ValueError("must be an email address")
    return text


def _title(text: str) -> str:
    if not text.strip() or any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("must not be blank, nor contain control characters")
    return text


def _subject(text: str) -> str:
    # What a token's `sub` may be: another one could never call.
    if not text.isprintable() or text in {".", ".."}:
        raise ValueError("must be a user id")
    return text


VisibleText = Annotated[str, AfterValidator(_visible)]
Username = Annotated[VisibleText, Field(min_length=1, max_length=150), AfterValidator(_username)]
Email = Annotated[VisibleText, Field(max_length=254), AfterValidator(_email)]
Password = Annotated[str, Field(min_length=12, max_length=256)]
RoleName = Literal["owner", "admin", "member"]


class Registration(WireModel):
    """A new user."""

    username: Username
    email: Email
    password: Password


class Login(WireModel):
    """Username or email, in either field, and the password."""

    username: str | None = None
    email: str | None = None
    password: str


class RefreshRequest(WireModel):
    """An opaque refresh token."""

    refresh_token: str


class TokenForm(WireModel):
    """RFC 7662 section 2.1."""

    token: str


class UserAnswer(WireModel):
    """A user; of another issuer's only what the token says is known."""

    id: str
    username: str
    email: str | None
    roles: tuple[str, ...]
    created_at: datetime | None


class TokenAnswer(WireModel):
    """RFC 6749 section 5.1."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int
    refresh_token: str


class ClaimsAnswer(WireModel):
    """The claims of a verified token."""

    model_config = ConfigDict(extra="allow")

    sub: str
    exp: float


class IntrospectionAnswer(WireModel):
    """RFC 7662 section 2.2: the claims beside `active`, where it is."""

    model_config = ConfigDict(extra="allow")

    active: bool


class Key(WireModel):
    """One public key (RFC 7517 section 4), with the members of its type beside these."""

    model_config = ConfigDict(extra="allow")

    kty: str
    kid: str
    alg: str
    use: Literal["sig"]


class KeysAnswer(WireModel):
    """RFC 7517 section 5."""

    keys: list[Key]


class NewOrganization(WireModel):
    """An organisation to be."""

    name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_title)]


class OrganizationAnswer(WireModel):
    """An organisation, and the caller's role in it."""

    id: str
    name: str
    created_at: datetime
    role: RoleName


class OrganizationsAnswer(WireModel):
    """The caller's organisations."""

    organizations: list[OrganizationAnswer]


class NewMember(WireModel):
    """Who is to join: a user id (another issuer's too), or the name of a user registered here."""

    user_id: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_subject)] | None = None
    username: PlainText | None = None
    role: RoleName


class RoleChange(WireModel):
    """A member's new role."""

    role: RoleName


class MemberAnswer(WireModel):
    """A member."""

    user_id: str
    username: str
    role: RoleName


class MembersAnswer(WireModel):
    """An organisation's members."""

    members: list[MemberAnswer]


class MembershipAnswer(WireModel):
    """What another service asks: the role of a member."""

    role: RoleName
