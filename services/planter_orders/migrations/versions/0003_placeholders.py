"""What to show of a photo while it loads."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("planter_files", sa.Column("placeholder", sa.Text))


def downgrade() -> None:
    op.drop_column("planter_files", "placeholder")
