"""Stored images, and whose the names are that users upload under."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "media_images",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("uploaded_at", MOMENT, nullable=False),
        sa.Column("username", sa.Text),
        sa.Column("image_type", sa.Text),
        sa.Column("is_primary", sa.Boolean, nullable=False),
        sa.Column("caption", sa.Text, nullable=False),
        sa.Column("source_key", KEY),
        sa.Column("deleted_at", MOMENT),
    )
    op.create_index("media_images_key", "media_images", ["key"], unique=True)
    op.create_index("media_images_source", "media_images", ["source_key"], unique=True)
    op.create_index(
        "media_images_one_primary",
        "media_images",
        ["username"],
        unique=True,
        sqlite_where=sa.text("is_primary"),
        postgresql_where=sa.text("is_primary"),
    )
    op.create_index("media_images_of_user", "media_images", ["username", "uploaded_at", "id"])
    op.create_index("media_images_of_user_by_type", "media_images", ["username", "image_type", "uploaded_at", "id"])
    op.create_index("media_images_by_age", "media_images", ["kind", "uploaded_at"])
    op.create_index(
        "media_images_deleting",
        "media_images",
        ["deleted_at"],
        sqlite_where=sa.text("deleted_at IS NOT NULL"),
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_table(
        "media_user_names",
        sa.Column("username", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text),
    )


def downgrade() -> None:
    op.drop_table("media_user_names")
    op.drop_table("media_images")
