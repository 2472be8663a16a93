"""The wire types of planter-orders, and how an order becomes one."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from services.planter_orders.model.orders import Order, Photo
from services.planter_orders.model.status import Status
from shared.auth.signed_links import SignedLinks
from shared.http.validation import MaxChars, PlainText, QueryModel, WireModel

ORDERS = "/api/images/orders"
THUMBNAIL = "size=thumb"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _moment(value: object) -> datetime:
    """Read RFC 3339; a `+` that was not encoded arrives as a space."""
    text = value.replace(" ", "+") if isinstance(value, str) and "T" in value.upper() else str(value)
    if RFC3339.fullmatch(text) is None:
        raise ValueError("must be a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z")
    try:
        moment = datetime.fromisoformat(text.upper())
        moment.timestamp()
    except (ValueError, OverflowError):
        raise ValueError("is no time that exists") from None
    return moment


def _year(moment: datetime) -> datetime:
    # The zone is taken away before comparing: at the ends of the calendar that would leave it.
    if not 1970 <= moment.year <= 9998:
        raise ValueError("must lie between 1970 and 9998")
    return moment


Moment = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_year)]
StatusName = Annotated[Status, Field(strict=False)]
Limit = Annotated[int, Field(ge=1, le=100)]
Note = Annotated[PlainText, MaxChars(500)]


class PetFields(QueryModel):
    """The text fields of an upload."""

    pet_name: Annotated[PlainText, MaxChars(100)] | None = None
    pet_type: Annotated[PlainText, MaxChars(50)] | None = None
    notes: Annotated[PlainText, MaxChars(2000)] | None = None


class OrdersQuery(QueryModel):
    """Which of one's own orders; without `limit` all."""

    status: Status | None = None
    limit: Limit | None = None
    cursor: PlainText | None = None


class AllOrdersQuery(OrdersQuery):
    """Which of all orders; both ends of the time belong to it."""

    user_id: PlainText | None = None
    since: Moment | None = None
    until: Moment | None = None


class FileQuery(QueryModel):
    """The photo, or its thumbnail."""

    size: Literal["thumb"] | None = None


class StatusChange(WireModel):
    """What an admin makes of an order."""

    status: StatusName
    note: Note | None = None


class ServiceStatusChange(StatusChange):
    """What another service makes of an order; telling the same event again changes nothing."""

    event_id: Annotated[PlainText, Field(min_length=1, max_length=255)]


class QualityEntry(WireModel):
    """What is said about a photo: `small`, `blurred`, `near_duplicate`; `unreadable` where it could not be looked at."""

    ok: bool
    warnings: list[str]


class FileLinks(WireModel):
    """Where a page shows the photo without a token, until `expires_at`."""

    photo: str
    thumbnail: str
    expires_at: datetime


class FileEntry(WireModel):
    """A photo: size in bytes, sides in pixels as displayed; `quality` is null until it is known."""

    filename: str
    original_filename: str
    content_type: str
    size: int
    width: int
    height: int
    url: str
    thumbnail_url: str
    quality: QualityEntry | None
    links: FileLinks


class OrderMetadata(WireModel):
    """An order; in its `order_metadata.json` the files have no links."""

    order_id: str
    user_id: str
    pet_name: str | None
    pet_type: str | None
    notes: str | None
    files: list[FileEntry]
    upload_timestamp: datetime
    status: Status


class OrderEntry(OrderMetadata):
    """An order, with links to its events and to all photos as one ZIP that need no token."""

    events: str
    photos_zip: str


class UploadAnswer(WireModel):
    """A new order."""

    success: Literal[True] = True
    message: str = "Images uploaded successfully"
    order_id: str
    files_uploaded: int
    order_metadata: OrderMetadata


class OrdersAnswer(WireModel):
    """A listing; `next_cursor` where more remain."""

    success: Literal[True] = True
    orders: list[OrderEntry]
    count: int
    next_cursor: str | None = None


class OrderAnswer(WireModel):
    """One order."""

    success: Literal[True] = True
    order: OrderEntry


class DeletedAnswer(WireModel):
    """An order is gone."""

    success: Literal[True] = True
    message: str = "Order deleted successfully"
    order_id: str


class OrderFacts(WireModel):
    """What another service may know of an order."""

    order_id: str
    user_id: str
    status: Status


class OrderRenderer:
    """Renders orders with addresses below `public_url`."""

    def __init__(self, links: SignedLinks, public_url: str) -> None:
        self._links = links
        self._public_url = public_url

    def order(self, order: Order) -> OrderEntry:
        """Return the order as answers show it."""
        path = f"{ORDERS}/{order.id}"
        return OrderEntry(
            **dict(self.metadata(order)),
            events=self._links.url(f"{path}/events"),
            photos_zip=self._links.url(f"{path}/photos.zip"),
        )

    def metadata(self, order: Order) -> OrderMetadata:
        """Return the order as the answer to its upload shows it."""
        return OrderMetadata(
            order_id=order.id,
            user_id=order.user_id,
            pet_name=order.pet_name,
            pet_type=order.pet_type,
            notes=order.notes,
            files=[self.file(order, photo) for photo in order.photos],
            upload_timestamp=order.created_at,
            status=order.status,
        )

    def metadata_file(self, order: Order) -> bytes:
        """Return the bytes of the order's `order_metadata.json`."""
        return self.metadata(order).model_dump_json(indent=2, exclude={"files": {"__all__": {"links"}}}).encode()

    def file(self, order: Order, photo: Photo) -> FileEntry:
        """Return one photo's entry."""
        path = f"{ORDERS}/{order.id}/files/{photo.filename}"
        quality = photo.quality
        links = FileLinks(
            photo=self._links.url(path),
            thumbnail=self._links.url(path, THUMBNAIL),
            expires_at=datetime.fromtimestamp(self._links.expires_at(), UTC),
        )
        return FileEntry(
            filename=photo.filename,
            original_filename=photo.original_filename,
            content_type=photo.content_type,
            size=photo.size,
            width=photo.width,
            height=photo.height,
            url=self._public_url + path,
            thumbnail_url=f"{self._public_url}{path}?{THUMBNAIL}",
            quality=None if quality is None else QualityEntry(ok=not quality.warnings, warnings=list(quality.warnings)),
            links=links,
        )
