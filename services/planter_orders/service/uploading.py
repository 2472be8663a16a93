"""Uploading an order: checked whole, then kept whole or not at all."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from prometheus_client import Counter

from services.planter_orders.adapters.sql import Answered, OrderRepository, Orphan, Orphans
from services.planter_orders.model.object_keys import new_filename, photo_key
from services.planter_orders.model.orders import Order, Photo, new_order_id
from services.planter_orders.service.metadata_files import MetadataFiles
from services.planter_orders.service.orphan_cleanup import STALE_S, OrphanCleanup
from shared.errors import KeepsakeError
from shared.images.decode_pool import ImageWorkers
from shared.images.header import ImageFacts
from shared.images.validation import ImageLimits, named, require_image
from shared.objects import BlobStore
from shared.uploads import UploadedFile

ORDERS = Counter("keepsake_orders_total", "Orders taken.")
PHOTOS = Counter("keepsake_order_photos_total", "Photos taken with orders.")
PHOTO_BYTES = Counter("keepsake_order_photo_bytes_total", "Bytes of photos taken with orders.")
HEARTBEAT_S = 15.0

IncomingPhoto = UploadedFile[Path]


@dataclass(frozen=True, slots=True)
class Pet:
    """What the customer wrote, as typed."""

    name: str | None = None
    type: str | None = None
    notes: str | None = None


def _read_header(photo: IncomingPhoto, limits: ImageLimits) -> ImageFacts:
    if not photo.size:
        return require_image(b"", declared_type=photo.declared_type, limits=limits, name=photo.filename)
    with photo.content.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return require_image(data, declared_type=photo.declared_type, limits=limits, name=photo.filename)


class Uploading:
    """Takes spooled photos and makes an order of them."""

    def __init__(
        self,
        *,
        orders: OrderRepository,
        orphans: Orphans,
        blobs: BlobStore,
        workers: ImageWorkers,
        limits: ImageLimits,
        cleanup: OrphanCleanup,
        metadata_files: MetadataFiles,
        on_order: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._orders = orders
        self._orphans = orphans
        self._blobs = blobs
        self._workers = workers
        self._limits = limits
        self._cleanup = cleanup
        self._metadata_files = metadata_files
        self._on_order = on_order
        self._now = now

    async def place(
        self, user_id: str, pet: Pet, incoming: Sequence[IncomingPhoto], answered: Callable[[Order], Answered]
    ) -> Order:
        """Check the photos, store them and keep the order; `answered` writes in the transaction that keeps it.

        Raises what `require_image` and the decoding check raise, naming the file, StorageFull, DependencyDown and
        Unavailable; whatever it raises, nothing is left of the order.
        """
        facts = await self._checked(incoming)
        at = self._now()
        photos: list[Photo] = []
        for photo, fact in zip(incoming, facts, strict=True):
            taken = {other.filename for other in photos}
            photos.append(
                Photo(
                    new_filename(at, fact.format.extension, taken),
                    photo.filename,
                    fact.format.content_type,
                    photo.size,
                    fact.display_width,
                    fact.display_height,
                    photo.sha256,
                )
            )
        order = Order(new_order_id(), user_id, pet.name, pet.type, pet.notes, at, tuple(photos))
        async with self._all_or_nothing(order):
            for photo, kept in zip(incoming, photos, strict=True):
                await self._blobs.put_file(
                    photo_key(user_id, order.id, kept.filename),
                    photo.content,
                    content_type=kept.content_type,
                    sha256=kept.sha256,
                )
            await self._orders.add(order, answered(order))
        ORDERS.inc()
        PHOTOS.inc(len(photos))
        PHOTO_BYTES.inc(sum(photo.size for photo in photos))
        self._on_order()
        await self._metadata_files.write_first(order)
        return order

    async def _checked(self, incoming: Sequence[IncomingPhoto]) -> list[ImageFacts]:
        """Read all headers first: they cost next to nothing, and refuse most of what is refused."""
        facts = [await asyncio.to_thread(_read_header, photo, self._limits) for photo in incoming]
        for photo in incoming:
            try:
                await self._workers.check(photo.content, self._limits)
            except KeepsakeError as error:
                raise named(error, photo.filename) from error
        return facts

    @asynccontextmanager
    async def _all_or_nothing(self, order: Order) -> AsyncIterator[None]:
        """Enter the upload where a crash would be found, and keep the entry alive; undo whatever does not get through."""
        stale = timedelta(seconds=STALE_S)
        orphan = Orphan(order.id, order.user_id)

        async def heartbeat() -> None:
            while True:
                await asyncio.sleep(HEARTBEAT_S)
                with suppress(KeepsakeError):
                    await self._orphans.extend(order.id, self._now() + stale)

        beating: asyncio.Task[None] | None = None
        try:
            await self._orphans.open(order.id, order.user_id, self._now() + stale)
            beating = asyncio.create_task(heartbeat())
            yield
        except BaseException:
            # A commit whose answer got lost may have happened: the entry knows.
            self._cleanup.undo(orphan)
            raise
        finally:
            if beating is not None:
                beating.cancel()
