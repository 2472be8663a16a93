"""The wire types of auth-verify."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from services.auth_verify.model import MIN_PASSWORD, normal_password
from shared.http.validation import Matching, PlainText, QueryModel, WireModel
from shared.names import CANNOT_BE_CARRIED, CARRIED, NOT_CARRIED, is_carriable

CONTROLS = r"\u0000-\u001f\u007f-\u009f"
# Also what cannot be seen: soft hyphen, zero-width space, direction marks, line separators, byte order mark. Joiners may
# be inside: Persian and emoji are written with them.
INVISIBLE = CONTROLS + r"\u00ad\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
_IN_USERNAMES = rf"[^.{NOT_CARRIED}{INVISIBLE}]"
_AT_THE_ENDS = rf"[^.\s\u200c\u200d{NOT_CARRIED}{INVISIBLE}]"


def _either(*names: str) -> dict[str, Any]:
    """Describe that one of these is there, and neither null nor empty."""
    given = {"type": "string", "minLength": 1}
    return {"anyOf": [{"required": [name], "properties": {name: given}} for name in names]}


def _require_carriable(text: str) -> str:
    if not is_carriable(text):
        raise ValueError(CANNOT_BE_CARRIED)
    return text


def _require_password_length(password: str) -> str:
    if len(normal_password(password)) < MIN_PASSWORD:
        raise ValueError(f"must have at least {MIN_PASSWORD} characters")
    return password


Username = Annotated[
    str,
    Field(min_length=1, max_length=150),
    Matching(
        rf"{_AT_THE_ENDS}(?:(?:\.?{_IN_USERNAMES})*\.?{_AT_THE_ENDS})?\.?",
        f"must not begin with a dot or a space nor end with a space, and {CANNOT_BE_CARRIED}",
    ),
    AfterValidator(_require_carriable),
]
Email = Annotated[
    str,
    Field(min_length=3, max_length=254),
    Matching(rf"[^@\s{INVISIBLE}]+@[^@\s.{INVISIBLE}]+(\.[^@\s.{INVISIBLE}]+)*", "must be an email address"),
]
Title = Annotated[
    str,
    Field(min_length=1, max_length=200),
    Matching(rf"[^{CONTROLS}]*[^\s{CONTROLS}][^{CONTROLS}]*", "must not be blank, nor contain control characters"),
]
# A member's id must fit into a path; otherwise nobody could remove that member again.
Subject = Annotated[
    str, Field(min_length=1, max_length=255), Matching(CARRIED, CANNOT_BE_CARRIED), AfterValidator(_require_carriable)
]
Password = Annotated[str, Field(min_length=MIN_PASSWORD, max_length=256), AfterValidator(_require_password_length)]
OpaqueToken = Annotated[str, Field(min_length=1)]
RoleName = Literal["owner", "admin", "member"]


class Registration(WireModel):
    """A new user."""

    username: Username
    email: Email
    password: Password


class Login(WireModel):
    """Username or email, in either field, and the password; an empty field counts as missing."""

    model_config = ConfigDict(json_schema_extra=_either("username", "email"))

    username: str | None = None
    email: str | None = None
    password: Annotated[str, Field(json_schema_extra={"minLength": 1})]


class ErasureOrder(WireModel):
    """The password of who wants to be erased."""

    password: Annotated[str, Field(min_length=1)]


class RefreshRequest(WireModel):
    """An opaque refresh token."""

    refresh_token: OpaqueToken


class TokenForm(WireModel):
    """RFC 7662 section 2.1."""

    token: OpaqueToken


class UserAnswer(WireModel):
    """A user; of another issuer's only what the token says is known."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    username: str
    email: str | None
    roles: tuple[str, ...]
    created_at: datetime | None


class UsersQuery(QueryModel):
    """Which users."""

    query: Annotated[PlainText, Field(max_length=254, description="A part of the username or email")] = ""
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: PlainText | None = Field(None, description="`next_cursor` of the page before")


class ManagedUser(WireModel):
    """A user as admins see it."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    username: str
    email: str
    roles: tuple[str, ...]
    created_at: datetime
    disabled: bool


class UsersAnswer(WireModel):
    """Users, newest first."""

    users: list[ManagedUser]
    count: int
    next_cursor: str | None


class UserChange(WireModel):
    """What is to change about a user."""

    roles: Annotated[list[Literal["admin"]] | None, Field(max_length=1)] = None
    disabled: bool | None = None


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

    name: Title


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

    model_config = ConfigDict(json_schema_extra=_either("user_id", "username"))

    user_id: Subject | None = None
    username: Username | None = None
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
