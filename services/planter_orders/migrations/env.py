"""Alembic's way in."""

from shared.migrations_env import run_migrations

run_migrations()
