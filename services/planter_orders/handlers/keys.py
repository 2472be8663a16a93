"""Where handlers find what the app opened."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from services.planter_orders.handlers.rendering import Links
from services.planter_orders.service import Changes, OrderService, Uploading
from services.planter_orders.settings import PlanterOrdersSettings
from shared.app.idempotency import IdempotencyKeys
from shared.objects import BlobStore

SETTINGS: Final = web.AppKey("SETTINGS", PlanterOrdersSettings)
ORDERS: Final = web.AppKey("ORDERS", OrderService)
UPLOADING: Final = web.AppKey("UPLOADING", Uploading)
CHANGES: Final = web.AppKey("CHANGES", Changes)
BLOBS: Final = web.AppKey("BLOBS", BlobStore)
KEYS: Final = web.AppKey("KEYS", IdempotencyKeys)
LINKS: Final = web.AppKey("LINKS", Links)
