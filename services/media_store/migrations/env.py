"""Runs media-store's migrations."""

from shared.persistence.migrations import run_migrations

run_migrations()
