"""Uploading an order: checked whole, then kept whole or not at all; and removing objects that belong to no order."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from prometheus_client import Counter

from services.planter_orders.adapters.sql import Answered, OrderRepository, Orphan, Orphans, PhotoRepository
from services.planter_orders.model.orders import Order, OrderNotFound, new_order_id, require_replaceable
from services.planter_orders.model.photos import (
    Photo,
    PhotoNotFound,
    folders_of,
    new_filename,
    photo_key,
    photo_named,
    thumbnail_key,
)
from services.planter_orders.service.announcements import OrderEvents
from services.planter_orders.service.derived_files import MetadataFiles
from shared.concurrency.periodic import work_periodically
from shared.errors import KeepsakeError
from shared.images.decode_pool import ImageWorkers
from shared.images.validation import ImageFacts, ImageFormat, ImageLimits, PreparedImage, named, require_image
from shared.log import get_logger
from shared.objects import ObjectStore
from shared.uploads import UploadedFile

INTERVAL_S = 5.0
AT_ONCE = 50
LEASE = timedelta(seconds=30)
LOOK_AGAIN = timedelta(seconds=60)
STALE_S = 60.0
ORDERS = Counter("keepsake_orders_total", "Orders taken.")
PHOTOS = Counter("keepsake_order_photos_total", "Photos taken with orders.")
PHOTO_BYTES = Counter("keepsake_order_photo_bytes_total", "Bytes of photos taken with orders.")
HEARTBEAT_S = 15.0
IncomingPhoto = UploadedFile[Path]


class OrphanCleanup:
    """Removes orphaned objects when they are due, and clears the spool."""

    def __init__(self, *, orphans: Orphans, objects: ObjectStore, now: Callable[[], datetime]) -> None:
        self._orphans = orphans
        self._objects = objects
        self._now = now
        self._wake = asyncio.Event()
        self._undoing: set[asyncio.Task[None]] = set()

    def undo(self, orphan: Orphan) -> None:
        """Begin to remove what an upload has written so far, unless it has a row by now; what fails is done by the sweep.

        Not waited for: where the store or the database hangs, the client has its answer in time all the same.
        """
        task = asyncio.create_task(self._undo(orphan))
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def _undo(self, orphan: Orphan) -> None:
        try:
            if await self._orphans.doom(orphan, self._now() + LEASE):
                await self._remove(orphan)
        except KeepsakeError as error:
            get_logger().warning("orphan_cleanup_deferred", code=error.code)

    async def remove(self, orphan: Orphan) -> None:
        """Remove what a deleted order or a replaced photo had; what fails is done by the sweep."""
        try:
            await self._remove(orphan)
        except KeepsakeError as error:
            get_logger().warning("orphan_cleanup_deferred", code=error.code)

    async def run(self) -> None:
        """Sweep until cancelled; what is being undone then is left to the next start."""
        try:
            await work_periodically("orphan_cleanup", self.sweep, INTERVAL_S, wake=self._wake)
        finally:
            for task in self._undoing:
                task.cancel()
            await asyncio.gather(*self._undoing, return_exceptions=True)

    async def sweep(self) -> None:
        """Remove what is due."""
        await self._objects.clear_stale(STALE_S)
        for orphan in await self._orphans.take_due(self._now(), self._now() + LEASE, AT_ONCE):
            await self.remove(orphan)

    async def _remove(self, orphan: Orphan) -> None:
        if orphan.filename:
            for key_of in (photo_key, thumbnail_key):
                await self._objects.delete(key_of(orphan.user_id, orphan.order_id, orphan.filename))
        else:
            for prefix in folders_of(orphan.user_id, orphan.order_id):
                await self._objects.delete_prefix(prefix)
        await self._orphans.removed(orphan, self._now() + LOOK_AGAIN)


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


def _named(
    incoming: IncomingPhoto, checked: tuple[ImageFormat, PreparedImage], at: datetime, others: Sequence[Photo]
) -> Photo:
    image_format, prepared = checked
    return Photo(
        new_filename(at, image_format.extension, {other.filename for other in others}),
        incoming.filename,
        image_format.content_type,
        incoming.size,
        prepared.width,
        prepared.height,
        incoming.sha256,
        placeholder=prepared.placeholder,
    )


def _count(photos: Sequence[Photo]) -> None:
    PHOTOS.inc(len(photos))
    PHOTO_BYTES.inc(sum(photo.size for photo in photos))


def photo_to_replace(order: Order, filename: str) -> Photo:
    """Return the photo of this name, or the one that has taken its place. Raises PhotoNotFound, PhotoFixed."""
    for photo in order.photos:
        if photo.replaces == filename:
            return photo
    photo = photo_named(order.photos, filename)
    require_replaceable(order.status, is_requested=photo.request is not None)
    return photo


class Uploading:
    """Takes spooled photos and makes an order of them."""

    def __init__(
        self,
        *,
        orders: OrderRepository,
        photos: PhotoRepository,
        orphans: Orphans,
        objects: ObjectStore,
        workers: ImageWorkers,
        limits: ImageLimits,
        cleanup: OrphanCleanup,
        metadata_files: MetadataFiles,
        order_events: OrderEvents,
        on_order: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._orders = orders
        self._photos = photos
        self._orphans = orphans
        self._objects = objects
        self._workers = workers
        self._limits = limits
        self._cleanup = cleanup
        self._metadata_files = metadata_files
        self._order_events = order_events
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
            photos.append(_named(photo, fact, at, photos))
        order = Order(new_order_id(), user_id, pet.name, pet.type, pet.notes, at, tuple(photos))
        async with self._all_or_nothing(Orphan(order.id, user_id)):
            for photo, kept in zip(incoming, photos, strict=True):
                await self._put(order, kept, photo)
            await self._orders.add(order, answered(order))
        ORDERS.inc()
        _count(photos)
        self._on_order()
        await self._metadata_files.write_first(order)
        return order

    async def replace(self, order: Order, filename: str, incoming: IncomingPhoto) -> tuple[Order, Photo]:
        """Put another photo in the place of the one named; return the order as it is then, and the new photo.

        The new bytes come first, then the row, then the old bytes go: at each moment the order has one photo or the other.
        Who asks again, because the answer got lost, gets it again.
        Raises what `place` raises, and OrderNotFound, PhotoNotFound, PhotoFixed; then the old photo stays.
        """
        old = photo_to_replace(order, filename)
        if old.filename != filename:
            if old.sha256 == incoming.sha256:
                return order, old
            raise PhotoNotFound
        (fact,) = await self._checked([incoming])
        photo = replace(_named(incoming, fact, self._now(), order.photos), replaces=filename)
        async with self._all_or_nothing(Orphan(order.id, order.user_id, photo.filename)):
            await self._put(order, photo, incoming)
            await self._photos.replace(order.id, filename, photo, self._now())
        _count([photo])
        await self._cleanup.remove(Orphan(order.id, order.user_id, filename))
        await self._order_events.announce(order.id)
        await self._metadata_files.write(order.id)
        changed = await self._orders.get(order.id)
        if changed is None:
            raise OrderNotFound
        return changed, photo_named(changed.photos, photo.filename)

    async def _put(self, order: Order, photo: Photo, incoming: IncomingPhoto) -> None:
        key = photo_key(order.user_id, order.id, photo.filename)
        await self._objects.put_file(key, incoming.content, content_type=photo.content_type, sha256=photo.sha256)

    async def _checked(self, incoming: Sequence[IncomingPhoto]) -> list[tuple[ImageFormat, PreparedImage]]:
        """Read all headers first: they cost next to nothing, and refuse most of what is refused."""
        facts = [await asyncio.to_thread(_read_header, photo, self._limits) for photo in incoming]
        prepared: list[PreparedImage] = []
        for photo in incoming:
            try:
                prepared.append(await self._workers.prepare(photo.content, None, None, self._limits))
            except KeepsakeError as error:
                raise named(error, photo.filename) from error
        return [(fact.format, made) for fact, made in zip(facts, prepared, strict=True)]

    @asynccontextmanager
    async def _all_or_nothing(self, orphan: Orphan) -> AsyncIterator[None]:
        """Enter the upload where a crash would be found, and keep the entry alive; undo whatever does not get through."""
        stale = timedelta(seconds=STALE_S)

        async def heartbeat() -> None:
            while True:
                await asyncio.sleep(HEARTBEAT_S)
                with suppress(KeepsakeError):
                    await self._orphans.extend(orphan, self._now() + stale)

        beating: asyncio.Task[None] | None = None
        try:
            await self._orphans.open(orphan, self._now() + stale)
            beating = asyncio.create_task(heartbeat())
            yield
        except BaseException:
            # A commit whose answer got lost may have happened: the entry knows.
            self._cleanup.undo(orphan)
            raise
        finally:
            if beating is not None:
                beating.cancel()
