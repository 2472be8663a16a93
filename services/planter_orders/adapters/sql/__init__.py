"""The tables of planter-orders in SQLite or PostgreSQL."""

from services.planter_orders.adapters.sql.chores import SqlChores
from services.planter_orders.adapters.sql.leftovers import SqlLeftovers
from services.planter_orders.adapters.sql.orders import SqlOrders
from services.planter_orders.adapters.sql.outbox import SqlOutbox

__all__ = ["SqlChores", "SqlLeftovers", "SqlOrders", "SqlOutbox"]
