"""The URL table: parse, call, render."""

from services.planter_orders.handlers import admin, events, files, internal, orders, uploads
from services.planter_orders.handlers.keys import BLOBS, CHANGES, KEYS, LINKS, ORDERS, SETTINGS, UPLOADING
from services.planter_orders.handlers.rendering import Links

__all__ = ["BLOBS", "CHANGES", "KEYS", "LINKS", "ORDERS", "ROUTES", "SETTINGS", "UPLOADING", "Links"]

ROUTES = (
    *uploads.ROUTES,
    *orders.ROUTES,
    *files.ROUTES,
    *events.ROUTES,
    *admin.ROUTES,
    *internal.ROUTES,
)
