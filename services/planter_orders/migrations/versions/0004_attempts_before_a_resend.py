"""How often a webhook had been tried when somebody sent it again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("planter_outbox", sa.Column("attempts_before", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("planter_outbox", "attempts_before")
