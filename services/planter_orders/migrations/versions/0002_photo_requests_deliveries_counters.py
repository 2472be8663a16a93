"""Photo requests and replacements, webhooks that stay as deliveries, what listings select by, and counters.

Tables and columns are only added, which takes a moment, so that processes of the release before go on beside this one. What takes
long with many rows comes in transactions of its own: the indexes with 0005, which lets readers read; folded names, counters, and
what those processes add meanwhile a few hundred rows at a time afterwards (`adapters/sql/release_before.py`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.persistence.engine import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATUSES = (
    "pending", "awaiting_payment", "paid", "in_production", "shipped", "delivered", "cancelled", "refunded",
)  # fmt: skip


def _orders() -> None:
    for column in (
        sa.Column("newest_event_id", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("pet_name_folded", sa.Text),
        sa.Column("open_requests", sa.Integer, nullable=False, server_default="0"),
        sa.Column("is_warned", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("planter_orders", column)


def _photos() -> None:
    for column in (
        sa.Column("replaces", sa.Text),
        sa.Column("request_reason", sa.Text),
        sa.Column("request_note", sa.Text),
        sa.Column("requested_at", UtcDateTime),
    ):
        op.add_column("planter_files", column)
    for name in ("filename", "what"):
        op.add_column("planter_events", sa.Column(name, sa.Text))
    op.create_table(
        "planter_orphans",
        sa.Column("order_id", sa.String(32), primary_key=True),
        sa.Column("filename", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False, index=True),
        sa.Column("doomed", sa.Boolean, nullable=False),
        sa.Column("passes", sa.Integer, nullable=False),
    )


def _deliveries() -> None:
    for column in (
        sa.Column("state", sa.Text, nullable=False, server_default="pending"),
        sa.Column("tried_since", UtcDateTime),
        sa.Column("tried_at", UtcDateTime),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", sa.Text),
    ):
        op.add_column("planter_outbox", column)
    for index in ("ix_planter_outbox_due_at", "planter_outbox_of_order"):
        op.drop_index(index, "planter_outbox")


def _counters() -> None:
    counters = op.create_table(
        "planter_counters",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("total", sa.BigInteger, nullable=False),
    )
    names = [*(f"orders:{status}" for status in STATUSES), "deliveries:pending", "deliveries:failed", "photo_requests"]
    op.bulk_insert(counters, [{"name": name, "total": 0} for name in names])


def upgrade() -> None:
    _orders()
    _photos()
    _deliveries()
    _counters()
