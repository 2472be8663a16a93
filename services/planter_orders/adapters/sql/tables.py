"""The tables; all begin with `planter_`, since services may share one database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from services.planter_orders.model.orders import Status
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
    sa.Column("last_event_id", sa.BigInteger, nullable=False),  # of its status
    sa.Column("newest_event_id", sa.BigInteger, nullable=False),  # of its status or its photos
    sa.Column("version", sa.Integer, nullable=False),
    # When a job may be taken (again); NULL where there is nothing to do.
    sa.Column("metadata_due_at", UtcDateTime),
    sa.Column("photos_due_at", UtcDateTime),
    sa.Column("photos_attempts", sa.Integer, nullable=False),
    # What listings select by: the name as it is searched, and what is known of the photos.
    sa.Column("pet_name_folded", sa.Text),
    sa.Column("open_requests", sa.Integer, nullable=False, default=0),
    sa.Column("is_warned", sa.Boolean, nullable=False, default=False),
    # One index for each way to list: by keyset all of them cost the same however many orders there are.
    sa.Index("planter_orders_newest", "created_at", "id"),
    sa.Index("planter_orders_newest_by_status", "status", "created_at", "id"),
    sa.Index("planter_orders_newest_of_user", "user_id", "created_at", "id"),
    sa.Index("planter_orders_newest_of_user_by_status", "user_id", "status", "created_at", "id"),
)


def _partial_index(name: str, where: sa.ColumnElement[bool], *columns: sa.Column[Any]) -> None:
    sa.Index(name, *columns, postgresql_where=where, sqlite_where=where)


# A partial index serves only queries that say its condition in the same words: so nothing in these is a parameter.
HAS_OPEN_REQUEST = ORDERS.c.open_requests > sa.literal_column("0")
IS_WARNED = ORDERS.c.is_warned.is_(True)
HAS_UNFOLDED_NAME = ORDERS.c.pet_name.is_not(None) & ORDERS.c.pet_name_folded.is_(None)
IS_PAID = ORDERS.c.status == sa.literal_column(f"'{Status.PAID.value}'")


def _index_orders() -> None:
    columns = ORDERS.c
    newest = (columns.created_at, columns.id)
    _partial_index("planter_orders_metadata_due_at", columns.metadata_due_at.is_not(None), columns.metadata_due_at)
    _partial_index("planter_orders_photos_due_at", columns.photos_due_at.is_not(None), columns.photos_due_at)
    # Read instead of the table where a part of a name is looked for: a hundred thousand names are a few megabytes.
    _partial_index("planter_orders_names", columns.pet_name_folded.is_not(None), *newest, columns.pet_name_folded)
    _partial_index("planter_orders_requested", HAS_OPEN_REQUEST, *newest)
    _partial_index("planter_orders_warned", IS_WARNED, *newest)
    _partial_index("planter_orders_paid", IS_PAID, columns.last_event_id)
    _partial_index("planter_orders_unfolded", HAS_UNFOLDED_NAME, *newest)


_index_orders()
# The release before sets the first alone.
NEWEST_EVENT = sa.case(
    (ORDERS.c.last_event_id > ORDERS.c.newest_event_id, ORDERS.c.last_event_id), else_=ORDERS.c.newest_event_id
).label("newest_event_id")

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
    sa.Column("replaces", sa.Text),
    sa.Column("request_reason", sa.Text),  # NULL where nobody asks for another photo
    sa.Column("request_note", sa.Text),
    sa.Column("requested_at", UtcDateTime),
    sa.Column("placeholder", sa.Text),  # NULL for what was uploaded before there were any
)

EVENTS = sa.Table(
    "planter_events",
    METADATA,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("order_id", sa.String(32), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("note", sa.Text),
    sa.Column("filename", sa.Text),  # of a photo's event, which says what happened to it
    sa.Column("what", sa.Text),
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

# Objects without a row: of whole orders, and of single photos (where there is a file name).
ORPHANS = sa.Table(
    "planter_orphans",
    METADATA,
    sa.Column("order_id", sa.String(32), primary_key=True),
    sa.Column("filename", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("due_at", UtcDateTime, nullable=False, index=True),
    sa.Column("doomed", sa.Boolean, nullable=False),
    sa.Column("passes", sa.Integer, nullable=False),
)

# What the release before had in its place: its processes use it until the last of them has ended.
LEFTOVERS = sa.Table(
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
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False, default="pending"),
    # Who sends it again begins anew: the waits count from this time and this number of attempts on.
    sa.Column("tried_since", UtcDateTime),
    sa.Column("attempts_before", sa.Integer, nullable=False, default=0),
    sa.Column("tried_at", UtcDateTime),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_error", sa.Text),
    sa.Index("planter_outbox_message", "message_id", unique=True),
    sa.Index("planter_outbox_by_state", "state", "seq"),
    sa.Index("planter_outbox_by_age", "created_at"),
    sqlite_autoincrement=True,
)
IS_PENDING = OUTBOX.c.state == sa.literal_column("'pending'")
_partial_index("planter_outbox_due", IS_PENDING, OUTBOX.c.due_at)
_partial_index("planter_outbox_pending_of_order", IS_PENDING, OUTBOX.c.order_id, OUTBOX.c.seq)

# How many there are of what the summary tells, so that it costs the same however many: kept by whoever changes them.
COUNTERS = sa.Table(
    "planter_counters",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("total", sa.BigInteger, nullable=False),
)

IDEMPOTENCY_KEYS = idempotency_table(METADATA, "planter_orders")
