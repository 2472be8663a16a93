"""What a person decided about payments that needed review, and indexes for looking through payments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "checkout_resolutions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("row_id", sa.Text, nullable=False, index=True),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("resolved_by", sa.Text, nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("checkout_sessions_newest", "checkout_sessions", ["created_at", "id"])
    op.create_index("checkout_sessions_by_state", "checkout_sessions", ["state", "created_at", "id"])
    in_review = sa.text("review_reason IS NOT NULL")
    op.create_index(
        "checkout_sessions_in_review",
        "checkout_sessions",
        ["created_at", "id"],
        sqlite_where=in_review,
        postgresql_where=in_review,
    )
