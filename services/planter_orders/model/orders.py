"""An order, its photos, and what happened to it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import uuid4

from services.planter_orders.model.photos import Photo
from services.planter_orders.model.status import Status
from shared.errors import NotFound

ORDER_ID = re.compile(r"[0-9a-f]{32}\Z")


class OrderNotFound(NotFound):
    """There is no such order, or it is another person's."""

    def __init__(self) -> None:
        """Use one sentence for both."""
        super().__init__("Order not found")


@dataclass(frozen=True, slots=True)
class Order:
    """An order; `version` rises with each change, `last_event_id` is that of its present status."""

    id: str
    user_id: str
    pet_name: str | None
    pet_type: str | None
    notes: str | None
    created_at: datetime
    photos: tuple[Photo, ...]
    status: Status = Status.PENDING
    last_event_id: int = 0
    version: int = 1


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """One change of an order's status; `id` rises within an order."""

    id: int
    order_id: str
    status: Status
    at: datetime
    note: str | None


class PhotoChange(StrEnum):
    """What happened to a photo; one that is checked has its thumbnail and its quality."""

    CHECKED = "checked"
    REQUESTED = "requested"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class PhotoEvent:
    """One change of a photo; its `id` rises with those of the status."""

    id: int
    order_id: str
    filename: str
    what: PhotoChange
    at: datetime


OrderEvent = StatusEvent | PhotoEvent


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders a listing has; both ends of the time belong to it, `pet_name` is a part of it in any case."""

    user_id: str | None = None
    status: Status | None = None
    since: datetime | None = None
    until: datetime | None = None
    pet_name: str | None = None
    has_open_request: bool = False
    is_warned: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """What there is to do: orders by status, the order that has been paid for longest and since when, open requests."""

    orders: Mapping[Status, int]
    oldest_paid: tuple[str, datetime] | None
    photo_requests: int
    pending_deliveries: int
    failed_deliveries: int


def folded(name: str) -> str:
    """Return a name as it is searched: two spellings that differ in case, or in how accents are encoded, are one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def new_order_id() -> str:
    """Return an id that nobody can guess."""
    return uuid4().hex


def require_order_id(text: str) -> str:
    """Return `text`, or raise OrderNotFound: what is no id names no order."""
    if ORDER_ID.match(text) is None:
        raise OrderNotFound
    return text
