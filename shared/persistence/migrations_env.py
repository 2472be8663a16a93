"""The one `env.py` of all services' Alembic migrations."""

from __future__ import annotations

from alembic import context


def run_migrations() -> None:
    """Run them inside the caller's transaction, so that a start that is killed leaves the tables as they were."""
    attributes = context.config.attributes
    context.configure(connection=attributes["connection"], version_table=attributes["version_table"])
    with context.begin_transaction():
        context.run_migrations()
