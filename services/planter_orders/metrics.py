"""What planter-orders counts."""

from __future__ import annotations

from prometheus_client import Counter

ORDERS = Counter("keepsake_orders_total", "Orders taken.")
PHOTOS = Counter("keepsake_order_photos_total", "Photos taken with orders.")
PHOTO_BYTES = Counter("keepsake_order_photo_bytes_total", "Bytes of photos taken with orders.")
WEBHOOKS = Counter("keepsake_order_webhooks_total", "Attempts to tell of a change, by outcome.", ["outcome"])
