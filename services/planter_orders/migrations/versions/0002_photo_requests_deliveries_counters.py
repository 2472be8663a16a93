"""Photo requests and replacements, webhooks that stay as deliveries, what listings select by, and counters.

Tables and columns are only added, so that processes of the release before go on beside this one. What takes long with many rows,
and what those processes add meanwhile, is done afterwards, a few hundred rows at a time (`adapters/sql/release_before.py`):
the folded names, and what they leave in `planter_leftovers`.
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


def _partial_index(name: str, table: str, where: str, *columns: str) -> None:
    op.create_index(name, table, list(columns), postgresql_where=sa.text(where), sqlite_where=sa.text(where))


def _orders() -> None:
    for column in (
        sa.Column("newest_event_id", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("pet_name_folded", sa.Text),
        sa.Column("open_requests", sa.Integer, nullable=False, server_default="0"),
        sa.Column("is_warned", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("planter_orders", column)
    op.execute(
        "UPDATE planter_orders SET is_warned = true WHERE id IN"
        " (SELECT order_id FROM planter_files WHERE CAST(warnings AS TEXT) <> '[]')"
    )
    _partial_index(
        "planter_orders_names", "planter_orders", "pet_name_folded IS NOT NULL", "created_at", "id", "pet_name_folded"
    )
    _partial_index("planter_orders_requested", "planter_orders", "open_requests > 0", "created_at", "id")
    is_warned = "is_warned IS true" if op.get_bind().dialect.name == "postgresql" else "is_warned IS 1"
    _partial_index("planter_orders_warned", "planter_orders", is_warned, "created_at", "id")
    _partial_index("planter_orders_paid", "planter_orders", "status = 'paid'", "last_event_id")


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
    op.create_index("planter_outbox_message", "planter_outbox", ["message_id"], unique=True)
    op.create_index("planter_outbox_by_state", "planter_outbox", ["state", "seq"])
    op.create_index("planter_outbox_by_age", "planter_outbox", ["created_at"])
    _partial_index("planter_outbox_due", "planter_outbox", "state = 'pending'", "due_at")
    _partial_index("planter_outbox_pending_of_order", "planter_outbox", "state = 'pending'", "order_id", "seq")


def _counters() -> None:
    op.create_table(
        "planter_counters",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("total", sa.BigInteger, nullable=False),
    )
    counted = {
        **{f"orders:{status}": f"planter_orders WHERE status = '{status}'" for status in STATUSES},
        "deliveries:pending": "planter_outbox",
        "deliveries:failed": "planter_outbox WHERE state = 'failed'",
        "photo_requests": "planter_files WHERE request_reason IS NOT NULL",
    }
    for name, rows in counted.items():
        op.execute(f"INSERT INTO planter_counters (name, total) SELECT '{name}', count(*) FROM {rows}")  # noqa: S608


def upgrade() -> None:
    _orders()
    _photos()
    _deliveries()
    _counters()
