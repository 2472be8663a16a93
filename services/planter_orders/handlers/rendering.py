"""Orders as the wire has them."""

from __future__ import annotations

from services.planter_orders.model.orders import Order, Photo
from services.planter_orders.schemas import FileEntry, OrderEntry, QualityEntry


class Links:
    """Renders orders with links below the public address."""

    def __init__(self, public_url: str) -> None:
        self._base = f"{public_url}/api/images/orders"

    def order(self, order: Order) -> OrderEntry:
        """Render an order."""
        return OrderEntry(
            order_id=order.id,
            user_id=order.user_id,
            pet_name=order.pet_name,
            pet_type=order.pet_type,
            notes=order.notes,
            files=[self._file(order, photo) for photo in order.photos],
            upload_timestamp=order.created_at,
            status=order.status,
        )

    def description(self, order: Order) -> bytes:
        """Render an order's `order_metadata.json`."""
        return self.order(order).model_dump_json(indent=2).encode()

    def _file(self, order: Order, photo: Photo) -> FileEntry:
        url = f"{self._base}/{order.id}/files/{photo.filename}"
        quality = photo.quality
        return FileEntry(
            filename=photo.filename,
            original_filename=photo.original_filename,
            content_type=photo.content_type,
            size=photo.size,
            width=photo.width,
            height=photo.height,
            url=url,
            thumbnail_url=f"{url}?size=thumb",
            quality=None if quality is None else QualityEntry(ok=not quality.warnings, warnings=list(quality.warnings)),
        )
