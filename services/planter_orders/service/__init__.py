"""The use cases: uploading, orders, and what goes on by itself: descriptions, thumbnails, leftovers, webhooks, changes."""

from services.planter_orders.service.changes import Changes
from services.planter_orders.service.descriptions import Descriptions
from services.planter_orders.service.leftovers import Removing
from services.planter_orders.service.orders import OrderService
from services.planter_orders.service.photos import PhotoStudio
from services.planter_orders.service.uploading import IncomingPhoto, Pet, Uploading
from services.planter_orders.service.webhooks import WebhookSender

__all__ = [
    "Changes",
    "Descriptions",
    "IncomingPhoto",
    "OrderService",
    "Pet",
    "PhotoStudio",
    "Removing",
    "Uploading",
    "WebhookSender",
]
