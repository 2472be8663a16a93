"""What planter-orders answers, and how an order becomes an answer."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal

from services.planter_orders.model.deliveries import Delivery, DeliveryState
from services.planter_orders.model.orders import Order, Status
from services.planter_orders.model.photos import Photo, RequestReason
from shared.auth.signed_links import SignedLinks
from shared.http.validation import WireModel, left_out_where_none

ORDERS = "/api/images/orders"
THUMBNAIL = "size=thumb"


class PhotoRequestEntry(WireModel):
    """The shop asks for another photo in the place of this one."""

    reason: RequestReason
    note: str | None
    at: datetime


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
    """A photo: size in bytes, sides in pixels as displayed; `quality` is null until it is known.

    `replaces` is the file name of the photo whose place it took, `request` what the shop asks for.
    """

    filename: str
    original_filename: str
    content_type: str
    size: int
    width: int
    height: int
    url: str
    thumbnail_url: str
    quality: QualityEntry | None
    replaces: str | None
    request: PhotoRequestEntry | None
    placeholder: str | None = left_out_where_none("A ThumbHash in base64")
    converted_from: str | None = left_out_where_none("The format it was sent in, where what is shown of it is a JPEG")
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


class OldestPaid(WireModel):
    """The order that has been paid for longest, and since when."""

    order_id: str
    at: datetime


class DeliveryCounts(WireModel):
    """Outgoing webhooks that wait, and that were given up."""

    pending: int
    failed: int


class SummaryAnswer(WireModel):
    """What there is to do."""

    orders: dict[Status, int]
    oldest_paid: OldestPaid | None
    photo_requests: int
    deliveries: DeliveryCounts


class DeliveryEntry(WireModel):
    """An outgoing webhook: what it says, how often it was tried, and the last answer's status or why there was none."""

    id: str
    type: str
    order_id: str
    data: dict[str, str | None]
    state: DeliveryState
    attempts: int
    created_at: datetime
    tried_at: datetime | None
    next_try_at: datetime | None
    last_status: int | None
    last_error: str | None

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryEntry:
        body = json.loads(delivery.body)
        return cls(
            id=delivery.message_id,
            type=body["type"],
            order_id=delivery.order_id,
            data=body["data"],
            state=delivery.state,
            attempts=delivery.attempts,
            created_at=delivery.created_at,
            tried_at=delivery.tried_at,
            next_try_at=delivery.due_at if delivery.state is DeliveryState.PENDING else None,
            last_status=delivery.last_status,
            last_error=delivery.last_error,
        )


class DeliveriesAnswer(WireModel):
    """A page of outgoing webhooks, the newest first; `next_cursor` where more remain."""

    deliveries: list[DeliveryEntry]
    next_cursor: str | None


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
        path = f"{ORDERS}/{order.id}"
        return OrderEntry(
            **dict(self.metadata(order)),
            events=self._links.url(f"{path}/events"),
            photos_zip=self._links.url(f"{path}/photos.zip"),
        )

    def metadata(self, order: Order) -> OrderMetadata:
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
        return self.metadata(order).model_dump_json(indent=2, exclude={"files": {"__all__": {"links"}}}).encode()

    def file(self, order: Order, photo: Photo) -> FileEntry:
        path = f"{ORDERS}/{order.id}/files/{photo.filename}"
        quality = photo.quality
        links = FileLinks(
            photo=self._links.url(path),
            thumbnail=self._links.url(path, THUMBNAIL),
            expires_at=datetime.fromtimestamp(self._links.expires_at(), UTC),
        )
        plain = ("filename", "original_filename", "content_type", "size", "width", "height", "replaces", "placeholder")
        return FileEntry(
            **{name: getattr(photo, name) for name in plain},
            url=self._public_url + path,
            thumbnail_url=f"{self._public_url}{path}?{THUMBNAIL}",
            quality=None if quality is None else QualityEntry(ok=not quality.warnings, warnings=list(quality.warnings)),
            request=None if photo.request is None else PhotoRequestEntry(**asdict(photo.request)),
            converted_from=photo.converted_from,
            links=links,
        )
