"""The URL table: parse, call, render."""

from services.planter_orders.handlers import admin, orders, photos
from shared.app.erasure import ERASURE_ROUTE

ROUTES = (*photos.ROUTES, *orders.ROUTES, *admin.ROUTES, ERASURE_ROUTE)
