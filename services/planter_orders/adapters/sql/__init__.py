"""The tables of planter-orders in SQLite or PostgreSQL; where the database cannot be reached, calls raise DependencyDown."""

from services.planter_orders.adapters.sql.changes import Outbox
from services.planter_orders.adapters.sql.jobs import Orphan, Orphans, PendingJobs, PhotoWork
from services.planter_orders.adapters.sql.orders import Answered, Erasures, OrderRepository
from services.planter_orders.adapters.sql.photos import PhotoRepository
from services.planter_orders.adapters.sql.release_before import ReleaseBefore

__all__ = [
    "Answered",
    "Erasures",
    "OrderRepository",
    "Orphan",
    "Orphans",
    "Outbox",
    "PendingJobs",
    "PhotoRepository",
    "PhotoWork",
    "ReleaseBefore",
]
