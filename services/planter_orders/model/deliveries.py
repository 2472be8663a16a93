"""Outgoing webhooks, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.errors import Conflict, NotFound


class DeliveryState(StrEnum):
    """A webhook waits (perhaps to be tried again), was taken, or was given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryNotFound(NotFound):
    """There is no such delivery, or it is too old to be kept."""

    def __init__(self) -> None:
        super().__init__("Delivery not found", "delivery_not_found")


class WebhooksOff(Conflict):
    """Nobody is told of changes."""

    def __init__(self) -> None:
        super().__init__("ORDER_WEBHOOK_URL is not set: there is nobody to send this to.", "webhooks_off")


@dataclass(frozen=True, slots=True)
class OutgoingWebhook:
    """A message that waits to be sent; `seq` rises in the order of the changes.

    `attempts` counts this one too, and those since somebody sent it again.
    """

    seq: int
    message_id: str
    order_id: str
    body: bytes
    tried_since: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message and what became of it; `due_at` is when it is tried (again) while it is pending."""

    seq: int
    message_id: str
    order_id: str
    body: bytes
    created_at: datetime
    state: DeliveryState
    attempts: int
    due_at: datetime
    tried_at: datetime | None
    last_status: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of sending a message once: the answer's status, or why there was none."""

    at: datetime
    status: int | None = None
    error: str | None = None
