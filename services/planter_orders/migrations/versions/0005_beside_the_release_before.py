"""What the release before needs beside this one, where it is not there, and an index of what it leaves to be done."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.persistence.engine import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    unfolded = sa.text("pet_name IS NOT NULL AND pet_name_folded IS NULL")
    op.create_index(
        "planter_orders_unfolded",
        "planter_orders",
        ["created_at", "id"],
        sqlite_where=unfolded,
        postgresql_where=unfolded,
    )
    if sa.inspect(op.get_bind()).has_table("planter_leftovers"):
        return
    op.create_table(  # between two releases it was dropped
        "planter_leftovers",
        sa.Column("order_id", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False, index=True),
        sa.Column("doomed", sa.Boolean, nullable=False),
        sa.Column("passes", sa.Integer, nullable=False),
    )
