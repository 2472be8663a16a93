"""What there is to do, as metrics: read from the database, so that each process says the same, and a restart nothing else."""

from __future__ import annotations

import math

from prometheus_client import Counter, Gauge

from services.planter_orders.adapters.sql.orders import OrderRepository
from shared.errors import DependencyDown
from shared.metrics import begin_at_zero

ORDERS_NOW = Gauge("keepsake_orders_by_status", "Orders there are, by status.", ["status"])
REQUESTS_NOW = Gauge("keepsake_photo_requests_open", "Photos that customers were asked to replace, and did not yet.")
WEBHOOKS_NOW = Gauge("keepsake_order_webhooks_waiting", "Outgoing webhooks that did not arrive, by state.", ["state"])
PHOTO_CHANGES = Counter(
    "keepsake_order_photo_changes_total",
    "Photos of orders that were requested, withdrawn (the request) or replaced.",
    ["what"],
)
begin_at_zero(PHOTO_CHANGES, "requested", "withdrawn", "replaced")


async def refresh_gauges(orders: OrderRepository) -> None:
    """Read the counters, which costs the same however many orders there are; where they cannot be read, show none."""
    try:
        summary = await orders.summary()
    except DependencyDown:
        ORDERS_NOW.clear()
        WEBHOOKS_NOW.clear()
        REQUESTS_NOW.set(math.nan)
        raise
    for status, count in summary.orders.items():
        ORDERS_NOW.labels(status).set(count)
    REQUESTS_NOW.set(summary.photo_requests)
    WEBHOOKS_NOW.labels("pending").set(summary.pending_deliveries)
    WEBHOOKS_NOW.labels("failed").set(summary.failed_deliveries)
