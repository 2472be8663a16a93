"""The tables; their names begin with the service's, because services may share one database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from services.checkout.model.sessions import LIVE
from shared.app.idempotency import idempotency_table
from shared.persistence.engine import UtcDateTime

METADATA = sa.MetaData()
IN_REVIEW = sa.text("review_reason IS NOT NULL")
IS_LIVE = sa.text(f"state IN ({', '.join(sorted(repr(str(state)) for state in LIVE))})")


def _text(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, **options)


SESSIONS = sa.Table(
    "checkout_sessions",
    METADATA,
    _text("id", primary_key=True),
    _text("state", nullable=False),
    _text("sku", nullable=False),
    _text("name", nullable=False),
    _text("description", nullable=False),
    sa.Column("quantity", sa.Integer, nullable=False),
    sa.Column("unit_amount", sa.BigInteger, nullable=False),
    _text("currency", nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    _text("reuse_key"),
    _text("image_id"),
    _text("order_id", index=True),
    _text("user_id"),
    _text("session_id", unique=True),
    _text("client_secret"),
    _text("payment_status", nullable=False),
    _text("payment_intent", index=True),
    sa.Column("charged_amount", sa.BigInteger),
    _text("charged_currency"),
    sa.Column("refunded_amount", sa.BigInteger, nullable=False),
    sa.Column("paid_at", UtcDateTime),
    _text("image_state", nullable=False),
    _text("image_key"),
    _text("image_type"),
    sa.Column("hold_until", UtcDateTime),
    _text("review_reason"),
    sa.Column("next_check_at", UtcDateTime, index=True),
    sa.Column("checks", sa.Integer, nullable=False),
    sa.Column("leased_until", UtcDateTime),
    sa.Index("checkout_sessions_newest", "created_at", "id"),
    sa.Index("checkout_sessions_by_state", "state", "created_at", "id"),
    sa.Index("checkout_sessions_in_review", "created_at", "id", sqlite_where=IN_REVIEW, postgresql_where=IN_REVIEW),
    sa.Index("checkout_sessions_one_live", "reuse_key", unique=True, sqlite_where=IS_LIVE, postgresql_where=IS_LIVE),
)

ORDER_UPDATES = sa.Table(
    "checkout_order_moves",
    METADATA,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    _text("event_id", unique=True, nullable=False),
    _text("row_id", nullable=False),
    _text("order_id", nullable=False, index=True),
    _text("status", nullable=False),
    _text("note", nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try_at", UtcDateTime, index=True),  # NULL once it is done
)

EVENTS = sa.Table(
    "checkout_webhook_events",
    METADATA,
    _text("id", primary_key=True),
    _text("type", nullable=False),
    sa.Column("hint", sa.JSON, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try_at", UtcDateTime, index=True),  # NULL once it is done
)

REFUNDS = sa.Table(
    "checkout_refunds",
    METADATA,
    _text("id", primary_key=True),
    _text("row_id", nullable=False, index=True),
    _text("refund_id", unique=True),
    sa.Column("amount", sa.BigInteger, nullable=False),
    _text("currency", nullable=False),
    _text("reason"),
    _text("status", nullable=False),
    sa.Column("answered", sa.Boolean, nullable=False),  # whether who asked for it knows that it was made
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

DISPUTES = sa.Table(
    "checkout_disputes",
    METADATA,
    _text("id", primary_key=True),
    _text("row_id", nullable=False, index=True),
    sa.Column("amount", sa.BigInteger, nullable=False),
    _text("currency", nullable=False),
    _text("reason", nullable=False),
    _text("status", nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
)

RESOLUTIONS = sa.Table(
    "checkout_resolutions",
    METADATA,
    _text("id", primary_key=True),
    _text("row_id", nullable=False, index=True),
    _text("action", nullable=False),
    _text("note", nullable=False),
    _text("reason", nullable=False),  # why the payment needed review
    _text("resolved_by", nullable=False),
    sa.Column("resolved_at", UtcDateTime, nullable=False),
)

IDEMPOTENCY_KEYS = idempotency_table(METADATA, "checkout")
