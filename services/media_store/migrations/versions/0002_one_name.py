"""Spellings that NFKC and case folding make one become one name; and indexes to look through all images.

Tables and columns are only added, so that processes of the release before go on beside this one; their indexes on
`username` go, which costs them speed alone. Every spelling in `media_user_names` is given its name in `media_names`:
its name key, together with all other spellings of the same owner. A spelling whose name belongs to another owner stays a
name of its own, known by exactly that spelling: no image is lost, and none changes hands. Where several spellings are one
now, the first one used is shown. The spelling that is its own name key comes first, then those that were used first.

The images get their `name_key` afterwards, a few hundred at a time, when a process starts and at each sweep
(`adapters/sql/names.py`): so a large table is locked for moments only, and what the release before adds meanwhile is
named too. Of several primary images that meet under one name the newest stays primary.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from services.media_store.model.names import key_of_old_name
from shared.names import name_key

revision = "0002"
down_revision = "0001"
BATCH = 1000

OLD_NAMES = sa.table("media_user_names", sa.column("username", sa.Text), sa.column("owner", sa.Text))
IMAGES = sa.table("media_images", sa.column("username", sa.Text), sa.column("uploaded_at", sa.DateTime(timezone=True)))


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _name_the_old() -> list[dict[str, str | None]]:
    first_use = sa.select(sa.func.min(IMAGES.c.uploaded_at)).where(IMAGES.c.username == OLD_NAMES.c.username)
    rows = op.get_bind().execute(sa.select(OLD_NAMES, first_use.scalar_subquery().label("first_use"))).all()
    by_age = sorted(rows, key=lambda row: (row.first_use is None, row.first_use or row.username, row.username))
    keys: dict[str, str] = {}
    owners: dict[str, str | None] = {}
    for row in sorted(by_age, key=lambda row: row.username != name_key(row.username)):  # else as they were
        key = keys[row.username] = key_of_old_name(row.username, row.owner, owners)
        owners[key] = owners.get(key) or row.owner
    shown = {keys[row.username]: row.username for row in reversed(by_age)}
    return [{"name_key": key, "username": shown[key], "owner": owner} for key, owner in owners.items()]


def upgrade() -> None:
    names = op.create_table(
        "media_names",
        sa.Column("name_key", sa.Text, primary_key=True),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
    )
    found = _name_the_old()
    for start in range(0, len(found), BATCH):
        op.bulk_insert(names, found[start : start + BATCH])
    op.add_column("media_images", sa.Column("name_key", sa.Text))
    for index in ("one_primary", "of_user", "of_user_by_type", "by_age"):
        op.drop_index(f"media_images_{index}", "media_images")
    op.create_index("media_images_primary_of_name", "media_images", ["name_key"], unique=True, **_where("is_primary"))
    op.create_index("media_images_of_name", "media_images", ["name_key", "uploaded_at", "id"])
    op.create_index("media_images_of_name_by_type", "media_images", ["name_key", "image_type", "uploaded_at", "id"])
    unnamed = _where("username IS NOT NULL AND name_key IS NULL")
    op.create_index("media_images_unnamed", "media_images", ["uploaded_at", "id"], **unnamed)
    op.create_index("media_images_newest", "media_images", ["uploaded_at", "id"])
    op.create_index("media_images_newest_of_kind", "media_images", ["kind", "uploaded_at", "id"])
