"""An order, its photos, and what happened to it."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from services.planter_orders.model.status import Status
from shared.errors import NotAllowedValue, NotFound

ORDER_ID = re.compile(r"[0-9a-f]{32}\Z")
CURSOR = re.compile(r"([0-9]{1,17})\.([0-9a-f]{32})\Z")  # 10^17 microseconds are the year 5138
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_CURSOR = 100


class OrderNotFound(NotFound):
    """There is no such order, or it is another person's."""

    def __init__(self) -> None:
        """Use one sentence for both."""
        super().__init__("Order not found")


@dataclass(frozen=True, slots=True)
class Quality:
    """What is said about a photo: words such as `small`, `blurred`, `near_duplicate`."""

    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo as it is kept: size in bytes, sides in pixels as displayed; `quality` is None until it is known."""

    filename: str
    original_filename: str
    content_type: str
    size: int
    width: int
    height: int
    sha256: str
    quality: Quality | None = None


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
class OrderEvent:
    """One change of an order's status; `id` rises within an order."""

    id: int
    order_id: str
    status: Status
    at: datetime
    note: str | None


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders a listing has; both ends of the time belong to it."""

    user_id: str | None = None
    status: Status | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a listing stands: after the order with this time and id."""

    created_at: datetime
    order_id: str

    @classmethod
    def of(cls, order: Order) -> Place:
        """Stand after `order`."""
        return cls(order.created_at, order.id)

    def cursor(self) -> str:
        """Write it as clients carry it."""
        micros = (self.created_at - EPOCH) // timedelta(microseconds=1)
        return base64.urlsafe_b64encode(f"{micros}.{self.order_id}".encode()).rstrip(b"=").decode()


def parse_cursor(cursor: str) -> Place:
    """Read what `Place.cursor` wrote. Raises NotAllowedValue."""
    try:
        text = base64.b64decode(cursor[:MAX_CURSOR] + "==", altchars=b"-_").decode("ascii")
    except ValueError:
        text = ""
    found = CURSOR.match(text)
    if found is None:
        raise NotAllowedValue.of("cursor", "cursor: take it from the last answer's next_cursor.", "invalid_cursor")
    return Place(EPOCH + timedelta(microseconds=int(found[1])), found[2])


def new_order_id() -> str:
    """Return an id that nobody can guess."""
    return uuid4().hex


def require_order_id(text: str) -> str:
    """Return `text`, or raise OrderNotFound: what is no id names no order."""
    if ORDER_ID.match(text) is None:
        raise OrderNotFound
    return text
