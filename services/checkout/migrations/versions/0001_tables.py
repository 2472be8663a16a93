"""The first tables: sessions, order moves, webhook events, refunds, disputes, idempotency keys."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def text(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, **options)


def time(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), **options)


def upgrade() -> None:
    live = sa.text("state IN ('creating', 'open', 'processing')")
    op.create_table(
        "checkout_sessions",
        text("id", primary_key=True),
        text("state", nullable=False),
        text("sku", nullable=False),
        text("name", nullable=False),
        text("description", nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("unit_amount", sa.BigInteger, nullable=False),
        text("currency", nullable=False),
        time("created_at", nullable=False),
        time("expires_at", nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        text("reuse_key"),
        text("image_id"),
        text("order_id", index=True),
        text("user_id"),
        text("session_id", unique=True),
        text("client_secret"),
        text("payment_status", nullable=False),
        text("payment_intent", index=True),
        sa.Column("charged_amount", sa.BigInteger),
        text("charged_currency"),
        sa.Column("refunded_amount", sa.BigInteger, nullable=False),
        time("paid_at"),
        text("image_state", nullable=False),
        text("image_key"),
        text("image_type"),
        time("hold_until"),
        text("review_reason"),
        time("next_check_at", index=True),
        sa.Column("checks", sa.Integer, nullable=False),
        time("leased_until"),
    )
    op.create_index(
        "checkout_sessions_one_live",
        "checkout_sessions",
        ["reuse_key"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_table(
        "checkout_order_moves",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        text("event_id", unique=True, nullable=False),
        text("row_id", nullable=False),
        text("order_id", nullable=False, index=True),
        text("status", nullable=False),
        text("note", nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        time("next_try_at", index=True),
    )
    op.create_table(
        "checkout_webhook_events",
        text("id", primary_key=True),
        text("type", nullable=False),
        sa.Column("hint", sa.JSON, nullable=False),
        time("received_at", nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        time("next_try_at", index=True),
    )
    op.create_table(
        "checkout_refunds",
        text("id", primary_key=True),
        text("row_id", nullable=False, index=True),
        text("refund_id", unique=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        text("currency", nullable=False),
        text("reason"),
        text("status", nullable=False),
        sa.Column("answered", sa.Boolean, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        time("created_at", nullable=False),
    )
    op.create_table(
        "checkout_disputes",
        text("id", primary_key=True),
        text("row_id", nullable=False, index=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        text("currency", nullable=False),
        text("reason", nullable=False),
        text("status", nullable=False),
        time("seen_at", nullable=False),
    )
    op.create_table(
        "checkout_idempotency_keys",
        sa.Column("scope", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        time("created_at", nullable=False, index=True),
        time("leased_until", nullable=False),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("status", sa.Integer),
        text("content_type"),
        sa.Column("body", sa.LargeBinary),
    )
