"""How an order becomes an answer, and its `order_metadata.json`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from services.planter_orders.model.orders import Order
from services.planter_orders.model.photos import Photo
from services.planter_orders.schemas.answers import (
    FileEntry,
    FileLinks,
    OrderEntry,
    OrderMetadata,
    PhotoRequestEntry,
    QualityEntry,
)
from shared.auth.signed_links import SignedLinks

ORDERS = "/api/images/orders"
THUMBNAIL = "size=thumb"


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
            replaces=photo.replaces,
            request=None if photo.request is None else PhotoRequestEntry(**asdict(photo.request)),
            placeholder=photo.placeholder,
            converted_from=photo.converted_from,
            links=links,
        )
