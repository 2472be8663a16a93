"""Checkout's tables in SQLite or PostgreSQL."""
