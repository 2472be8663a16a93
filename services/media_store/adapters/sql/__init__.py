"""The rows in SQLite or PostgreSQL."""

from services.media_store.adapters.sql.images import SqlImages

__all__ = ["SqlImages"]
