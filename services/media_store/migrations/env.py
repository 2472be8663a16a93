"""Runs media-store's migrations."""

from shared.migrations_env import run_migrations

run_migrations()
