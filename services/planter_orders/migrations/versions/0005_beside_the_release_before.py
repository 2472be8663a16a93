"""The indexes of what 0002 has added, made while others read; and what the release before needs beside this one.

Between two releases 0002 made the indexes itself, and dropped that table.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from shared.persistence.engine import UtcDateTime

revision = "0005"
down_revision = "0004"


def _index(name: str, table: str, columns: list[str], where: str = "", *, unique: bool = False) -> None:
    condition: dict[str, Any] = {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)} if where else {}
    op.create_index(name, table, columns, unique=unique, if_not_exists=True, **condition)


def _index_orders() -> None:
    newest, warned = ["created_at", "id"], "is_warned IS true"
    if op.get_bind().dialect.name == "sqlite":
        warned = "is_warned IS 1"
    named, unfolded = "pet_name_folded IS NOT NULL", "pet_name IS NOT NULL AND pet_name_folded IS NULL"
    _index("planter_orders_names", "planter_orders", [*newest, "pet_name_folded"], named)
    _index("planter_orders_unfolded", "planter_orders", newest, unfolded)
    _index("planter_orders_requested", "planter_orders", newest, "open_requests > 0")
    _index("planter_orders_warned", "planter_orders", newest, warned)
    _index("planter_orders_paid", "planter_orders", ["last_event_id"], "status = 'paid'")


def _index_deliveries() -> None:
    _index("planter_outbox_message", "planter_outbox", ["message_id"], unique=True)
    _index("planter_outbox_by_state", "planter_outbox", ["state", "seq"])
    _index("planter_outbox_by_age", "planter_outbox", ["created_at"])
    _index("planter_outbox_due", "planter_outbox", ["due_at"], "state = 'pending'")
    _index("planter_outbox_pending_of_order", "planter_outbox", ["order_id", "seq"], "state = 'pending'")


def upgrade() -> None:
    op.execute(
        "UPDATE planter_orders SET is_warned = true WHERE id IN"
        " (SELECT order_id FROM planter_files WHERE CAST(warnings AS TEXT) <> '[]')"
    )
    _index_orders()
    _index_deliveries()
    if sa.inspect(op.get_bind()).has_table("planter_leftovers"):
        return
    op.create_table(
        "planter_leftovers",
        sa.Column("order_id", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False, index=True),
        sa.Column("doomed", sa.Boolean, nullable=False),
        sa.Column("passes", sa.Integer, nullable=False),
    )
