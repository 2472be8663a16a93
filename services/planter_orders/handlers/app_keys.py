"""Where handlers find what the app opened."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from services.planter_orders.schemas.answers import OrderRenderer
from services.planter_orders.service.announcements import Deliveries, OrderEvents
from services.planter_orders.service.orders import OrderService
from services.planter_orders.service.uploading import Uploading
from services.planter_orders.settings import PlanterOrdersSettings
from shared.app.idempotency import IdempotencyKeys
from shared.objects import ObjectStore

SETTINGS: Final = web.AppKey("SETTINGS", PlanterOrdersSettings)
ORDERS: Final = web.AppKey("ORDERS", OrderService)
UPLOADING: Final = web.AppKey("UPLOADING", Uploading)
DELIVERIES: Final = web.AppKey("DELIVERIES", Deliveries)
ORDER_EVENTS: Final = web.AppKey("ORDER_EVENTS", OrderEvents)
OBJECTS: Final = web.AppKey("OBJECTS", ObjectStore)
IDEMPOTENCY: Final = web.AppKey("IDEMPOTENCY", IdempotencyKeys)
RENDERER: Final = web.AppKey("RENDERER", OrderRenderer)
