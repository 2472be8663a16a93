"""The outbox of people who are being erased."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.persistence.engine import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "auth_erasures",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("requested_at", UtcDateTime, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False, index=True),
        sa.Column("tries", sa.Integer, nullable=False),
    )
