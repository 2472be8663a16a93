"""Alembic's way in."""

from shared.persistence.migrations_env import run_migrations

run_migrations()
