"""Checkout's tables in SQLite or PostgreSQL."""

from services.checkout.adapters.sql.events import SqlEvents
from services.checkout.adapters.sql.moves import SqlMoves
from services.checkout.adapters.sql.refunds import SqlRefunds
from services.checkout.adapters.sql.sessions import SqlSessions

__all__ = ["SqlEvents", "SqlMoves", "SqlRefunds", "SqlSessions"]
