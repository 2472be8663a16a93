"""Auth-verify's tables in SQLite or PostgreSQL."""
