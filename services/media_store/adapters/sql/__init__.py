"""Media-store's tables in SQLite or PostgreSQL."""
