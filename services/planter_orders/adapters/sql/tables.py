"""The tables; all begin with `planter_`, since services may share one database."""

from __future__ import annotations

import sqlalchemy as sa

from shared.app.idempotency import idempotency_table
from shared.persistence.engine import UtcDateTime

METADATA = sa.MetaData()
# SQLite numbers only a column of type INTEGER by itself.
Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")

ORDERS = sa.Table(
    "planter_orders",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("pet_name", sa.Text),
    sa.Column("pet_type", sa.Text),
    sa.Column("notes", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("last_event_id", sa.BigInteger, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    # When a job may be taken (again); NULL where there is nothing to do.
    sa.Column("metadata_due_at", UtcDateTime),
    sa.Column("photos_due_at", UtcDateTime),
    sa.Column("photos_attempts", sa.Integer, nullable=False),
    # One index for each way to list: by keyset all of them cost the same however many orders there are.
    sa.Index("planter_orders_newest", "created_at", "id"),
    sa.Index("planter_orders_newest_by_status", "status", "created_at", "id"),
    sa.Index("planter_orders_newest_of_user", "user_id", "created_at", "id"),
    sa.Index("planter_orders_newest_of_user_by_status", "user_id", "status", "created_at", "id"),
)
for _name in ("metadata_due_at", "photos_due_at"):
    _due = ORDERS.c[_name]
    sa.Index(f"planter_orders_{_name}", _due, postgresql_where=_due.is_not(None), sqlite_where=_due.is_not(None))

FILES = sa.Table(
    "planter_files",
    METADATA,
    sa.Column("order_id", sa.String(32), sa.ForeignKey("planter_orders.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("original_filename", sa.Text, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("warnings", sa.JSON(none_as_null=True)),  # NULL until the photo was looked at
)

EVENTS = sa.Table(
    "planter_events",
    METADATA,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("order_id", sa.String(32), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("note", sa.Text),
    sa.Index("planter_events_of_order", "order_id", "id"),
    sqlite_autoincrement=True,  # an id is never given twice, not even a deleted order's
)

# What other services told us, by their own ids, so that telling twice is telling once.
APPLIED = sa.Table(
    "planter_applied",
    METADATA,
    sa.Column("order_id", sa.String(32), sa.ForeignKey("planter_orders.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("event_id", sa.Text, primary_key=True),
)

ORPHANS = sa.Table(
    "planter_leftovers",
    METADATA,
    sa.Column("order_id", sa.String(32), primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("due_at", UtcDateTime, nullable=False, index=True),
    sa.Column("doomed", sa.Boolean, nullable=False),
    sa.Column("passes", sa.Integer, nullable=False),
)

OUTBOX = sa.Table(
    "planter_outbox",
    METADATA,
    sa.Column("seq", Serial, primary_key=True),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("order_id", sa.String(32), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("due_at", UtcDateTime, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Index("planter_outbox_of_order", "order_id", "seq"),
    sqlite_autoincrement=True,
)

IDEMPOTENCY_KEYS = idempotency_table(METADATA, "planter_orders")
