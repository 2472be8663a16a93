"""Runs media-store's migrations."""

from shared.persistence.migrations_env import run_migrations

run_migrations()
