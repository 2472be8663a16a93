"""Idempotency keys of uploads: a table more, which the release before does not know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.persistence.engine import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "media_store_idempotency_keys",
        sa.Column("scope", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False, index=True),
        sa.Column("leased_until", UtcDateTime, nullable=False),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("status", sa.Integer),
        sa.Column("content_type", sa.Text),
        sa.Column("body", sa.LargeBinary),
    )
