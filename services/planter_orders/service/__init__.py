"""The use cases: uploading, orders, and what goes on by itself: metadata files, thumbnails, cleanup, webhooks, events."""

from services.planter_orders.service.announcements import Deliveries, OrderEvents, WebhookSender
from services.planter_orders.service.derived_files import MetadataFiles, Thumbnails
from services.planter_orders.service.orders import OrderService, PersonEraser
from services.planter_orders.service.uploading import IncomingPhoto, OrphanCleanup, Pet, Uploading, photo_to_replace

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
