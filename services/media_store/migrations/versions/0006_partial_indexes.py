"""Indexes without the rows that have nothing in them: a session's image is written to four instead of seven."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def _index_again(name: str, columns: Sequence[str], *, unique: bool = False) -> None:
    there = sa.text(f"{columns[0]} IS NOT NULL")
    op.drop_index(name, "media_images")
    op.create_index(name, "media_images", columns, unique=unique, sqlite_where=there, postgresql_where=there)


def upgrade() -> None:
    _index_again("media_images_source", ["source_key"], unique=True)
    _index_again("media_images_of_name", ["name_key", "uploaded_at", "id"])
    _index_again("media_images_of_name_by_type", ["name_key", "image_type", "uploaded_at", "id"])
