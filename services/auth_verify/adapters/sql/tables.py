"""The tables; all begin with `auth_`, since services may share one database."""

from __future__ import annotations

import sqlalchemy as sa

from shared.persistence.engine import UtcDateTime

METADATA = sa.MetaData()

USERS = sa.Table(
    "auth_users",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("username", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("auth_users_newest", "created_at", "id"),
)

# One row for a username and one for an email: the primary key keeps anybody's from being somebody else's.
LOGINS = sa.Table(
    "auth_logins",
    METADATA,
    sa.Column("login", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("auth_users.id"), nullable=False),
    sa.Index("auth_logins_of_user", "user_id"),
)

SESSIONS = sa.Table(
    "auth_sessions",
    METADATA,
    sa.Column("sid", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("auth_users.id"), nullable=False, index=True),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)

REFRESH_TOKENS = sa.Table(
    "auth_refresh_tokens",
    METADATA,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("sid", sa.Text, sa.ForeignKey("auth_sessions.sid", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("used_at", UtcDateTime),
)

# The number makes two processes that add a key at once collide.
SIGNING_KEYS = sa.Table(
    "auth_signing_keys",
    METADATA,
    sa.Column("algorithm", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kid", sa.Text, nullable=False, unique=True),
    sa.Column("sealed_private", sa.LargeBinary, nullable=False),
    sa.Column("public_jwk", sa.JSON, nullable=False),
    sa.Column("activated_at", UtcDateTime),
    sa.Column("retired_at", UtcDateTime),
)

ORGANIZATIONS = sa.Table(
    "auth_organizations",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

MEMBERS = sa.Table(
    "auth_members",
    METADATA,
    sa.Column("organization_id", sa.Text, sa.ForeignKey("auth_organizations.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("user_id", sa.Text, primary_key=True, index=True),
    sa.Column("username", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("joined_at", UtcDateTime, nullable=False),
)

ERASURES = sa.Table(
    "auth_erasures",
    METADATA,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("username", sa.Text, nullable=False),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("due_at", UtcDateTime, nullable=False, index=True),
    sa.Column("tries", sa.Integer, nullable=False),
)
