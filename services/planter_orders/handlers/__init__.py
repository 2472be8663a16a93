"""The URL table: parse, call, render."""

from services.planter_orders.handlers import admin, events, files, orders, uploads
from shared.app.erasure import ERASURE_ROUTE

ROUTES = (
    *uploads.ROUTES,
    *orders.ROUTES,
    *files.ROUTES,
    *events.ROUTES,
    *admin.ROUTES,
    ERASURE_ROUTE,
)
