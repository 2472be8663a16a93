"""How an image was made of what was sent, and what to show while it loads."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("media_images", sa.Column("rewritten", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("media_images", sa.Column("converted_from", sa.Text))
    op.add_column("media_images", sa.Column("placeholder", sa.Text))


def downgrade() -> None:
    op.drop_column("media_images", "placeholder")
    op.drop_column("media_images", "converted_from")
    op.drop_column("media_images", "rewritten")
