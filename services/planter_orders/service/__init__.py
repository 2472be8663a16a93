"""The use cases: uploading, orders, and what goes on by itself: metadata files, thumbnails, cleanup, webhooks, events."""

from services.planter_orders.service.erasure import PersonEraser
from services.planter_orders.service.metadata_files import MetadataFiles
from services.planter_orders.service.order_events import OrderEvents
from services.planter_orders.service.orders import OrderService
from services.planter_orders.service.orphan_cleanup import OrphanCleanup
from services.planter_orders.service.thumbnails import Thumbnails
from services.planter_orders.service.uploading import IncomingPhoto, Pet, Uploading, photo_to_replace
from services.planter_orders.service.webhook_sender import Deliveries, WebhookSender

__all__ = [
    "Deliveries",
    "IncomingPhoto",
    "MetadataFiles",
    "OrderEvents",
    "OrderService",
    "OrphanCleanup",
    "PersonEraser",
    "Pet",
    "Thumbnails",
    "Uploading",
    "WebhookSender",
    "photo_to_replace",
]
