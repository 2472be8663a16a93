"""Users, sessions, signing keys and organisations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.persistence.engine import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "auth_users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "auth_logins",
        sa.Column("login", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, sa.ForeignKey("auth_users.id"), nullable=False),
    )
    op.create_table(
        "auth_sessions",
        sa.Column("sid", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, sa.ForeignKey("auth_users.id"), nullable=False, index=True),
        sa.Column("expires_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "auth_refresh_tokens",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("sid", sa.Text, sa.ForeignKey("auth_sessions.sid", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("used_at", UtcDateTime),
    )
    op.create_table(
        "auth_signing_keys",
        sa.Column("algorithm", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kid", sa.Text, nullable=False, unique=True),
        sa.Column("sealed_private", sa.LargeBinary, nullable=False),
        sa.Column("public_jwk", sa.JSON, nullable=False),
        sa.Column("activated_at", UtcDateTime),
        sa.Column("retired_at", UtcDateTime),
    )
    op.create_table(
        "auth_organizations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "auth_members",
        sa.Column(
            "organization_id", sa.Text, sa.ForeignKey("auth_organizations.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("user_id", sa.Text, primary_key=True, index=True),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("joined_at", UtcDateTime, nullable=False),
    )
