"""Orders, their photos and events, and what each change leaves to be done."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.persistence.engine import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "planter_orders",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("pet_name", sa.Text),
        sa.Column("pet_type", sa.Text),
        sa.Column("notes", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("last_event_id", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("metadata_due_at", UtcDateTime),
        sa.Column("photos_due_at", UtcDateTime),
        sa.Column("photos_attempts", sa.Integer, nullable=False),
    )
    op.create_index("planter_orders_newest", "planter_orders", ["created_at", "id"])
    op.create_index("planter_orders_newest_by_status", "planter_orders", ["status", "created_at", "id"])
    op.create_index("planter_orders_newest_of_user", "planter_orders", ["user_id", "created_at", "id"])
    op.create_index(
        "planter_orders_newest_of_user_by_status", "planter_orders", ["user_id", "status", "created_at", "id"]
    )
    for name in ("metadata_due_at", "photos_due_at"):
        due = sa.text(f"{name} IS NOT NULL")
        op.create_index(f"planter_orders_{name}", "planter_orders", [name], postgresql_where=due, sqlite_where=due)
    op.create_table(
        "planter_files",
        sa.Column("order_id", sa.String(32), sa.ForeignKey("planter_orders.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("original_filename", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("warnings", sa.JSON(none_as_null=True)),
    )
    op.create_table(
        "planter_events",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("order_id", sa.String(32), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("note", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("planter_events_of_order", "planter_events", ["order_id", "id"])
    op.create_table(
        "planter_applied",
        sa.Column("order_id", sa.String(32), sa.ForeignKey("planter_orders.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("event_id", sa.Text, primary_key=True),
    )
    op.create_table(
        "planter_leftovers",
        sa.Column("order_id", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False, index=True),
        sa.Column("doomed", sa.Boolean, nullable=False),
        sa.Column("passes", sa.Integer, nullable=False),
    )
    op.create_table(
        "planter_outbox",
        sa.Column("seq", SERIAL, primary_key=True),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("order_id", sa.String(32), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False, index=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("planter_outbox_of_order", "planter_outbox", ["order_id", "seq"])
    op.create_table(
        "planter_orders_idempotency_keys",
        sa.Column("scope", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False, index=True),
        sa.Column("leased_until", UtcDateTime, nullable=False),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("status", sa.Integer),
        sa.Column("content_type", sa.Text),
        sa.Column("body", sa.LargeBinary),
    )
