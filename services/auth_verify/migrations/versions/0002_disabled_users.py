"""Users can be disabled, and are looked through newest first. Only added to: the release before goes on beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("auth_users", sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("auth_users_newest", "auth_users", ["created_at", "id"])
    op.create_index("auth_logins_of_user", "auth_logins", ["user_id"])
