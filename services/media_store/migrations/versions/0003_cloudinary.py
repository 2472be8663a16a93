"""Where the bytes of an image are that is kept at Cloudinary."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("media_images", sa.Column("url", sa.Text))
