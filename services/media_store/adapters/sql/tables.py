"""The tables; their names begin with the service's, because services may share one database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from shared.app.idempotency import idempotency_table
from shared.persistence.engine import UtcDateTime

METADATA = sa.MetaData()
# Keys sort byte by byte, as the object stores list them; SQLite does so by itself.
KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
IS_PRIMARY = sa.text("is_primary")
IS_UNNAMED = sa.text("username IS NOT NULL AND name_key IS NULL")
IS_MARKED = sa.text("deleted_at IS NOT NULL")
HAS_SOURCE = sa.text("source_key IS NOT NULL")
HAS_NAME = sa.text("name_key IS NOT NULL")


def _where(condition: sa.TextClause) -> dict[str, Any]:
    return {"sqlite_where": condition, "postgresql_where": condition}


IMAGES = sa.Table(
    "media_images",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("key", KEY, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("uploaded_at", UtcDateTime, nullable=False),
    sa.Column("username", sa.Text),
    sa.Column(
        "name_key", sa.Text
    ),  # NULL at an image that a process of the release before has added, until it is named
    sa.Column("image_type", sa.Text),
    sa.Column("is_primary", sa.Boolean, nullable=False),
    sa.Column("caption", sa.Text, nullable=False),
    sa.Column("source_key", KEY),
    sa.Column("url", sa.Text),
    sa.Column("rewritten", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("converted_from", sa.Text),
    sa.Column("placeholder", sa.Text),
    sa.Column("deleted_at", UtcDateTime),
    sa.Index("media_images_key", "key", unique=True),
    sa.Index("media_images_source", "source_key", unique=True, **_where(HAS_SOURCE)),
    sa.Index("media_images_primary_of_name", "name_key", unique=True, **_where(IS_PRIMARY)),
    sa.Index("media_images_of_name", "name_key", "uploaded_at", "id", **_where(HAS_NAME)),
    sa.Index("media_images_of_name_by_type", "name_key", "image_type", "uploaded_at", "id", **_where(HAS_NAME)),
    sa.Index("media_images_unnamed", "uploaded_at", "id", **_where(IS_UNNAMED)),
    sa.Index("media_images_newest", "uploaded_at", "id"),
    sa.Index("media_images_newest_of_kind", "kind", "uploaded_at", "id"),
    sa.Index("media_images_deleting", "deleted_at", **_where(IS_MARKED)),
)

NAMES = sa.Table(
    "media_names",
    METADATA,
    sa.Column("name_key", sa.Text, primary_key=True),
    sa.Column("username", sa.Text, nullable=False),  # as first written
    sa.Column("owner", sa.Text),  # NULL while only an admin has uploaded under the name
)

# The release before keeps each spelling here, and may still run beside this one.
OLD_NAMES = sa.Table(
    "media_user_names",
    METADATA,
    sa.Column("username", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text),
)

IDEMPOTENCY_KEYS = idempotency_table(METADATA, "media_store")
