"""Alembic's way in."""

from shared.persistence.migrations import run_migrations

run_migrations()
