"""Outgoing webhooks: signed as Standard Webhooks (standardwebhooks.com) has it, and what became of them."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.errors import Conflict, NotFound

PREFIX = "whsec_"


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


class InvalidSecret(ValueError):
    """A secret that is not base64, or empty."""


def signing_key(secret: str) -> bytes:
    """Return the key in `whsec_<base64>`; the prefix may be missing. Raises InvalidSecret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError as error:
        raise InvalidSecret from error
    if not key:
        raise InvalidSecret
    return key


def signed_headers(message_id: str, timestamp_s: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """Return the three headers; with several keys, which are rotated so, there is a signature by each."""
    content = b"%s.%d.%s" % (message_id.encode(), timestamp_s, body)
    signatures = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
