"""Uploading an order: checked whole, then kept whole or not at all; and removing objects that belong to no order."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from prometheus_client import Counter

from services.planter_orders.adapters.sql.jobs import Orphan, Orphans
from services.planter_orders.adapters.sql.orders import Answered, OrderRepository
from services.planter_orders.adapters.sql.photos import PhotoRepository
from services.planter_orders.model.orders import Order, new_order_id, require_replaceable
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
from services.planter_orders.service.derived_files import MetadataFiles, PhotoLooks
from services.planter_orders.service.gauges import PHOTO_CHANGES
from shared.concurrency.background_tasks import BackgroundTasks
from shared.concurrency.periodic import renewing, work_periodically
from shared.errors import KeepsakeError
from shared.images.decode_pool import ImageWorkers
from shared.images.validation import ImageFormat, ImageLimits, named, require_image
from shared.log import get_logger
from shared.objects import ObjectStore
from shared.uploads import UploadedFile
from shared.uploads.sinks import new_spool_path, storage_error

INTERVAL_S = 5.0
AT_ONCE = 50
LEASE = timedelta(seconds=30)
LOOK_AGAIN = timedelta(seconds=60)
STALE_S = 60.0
ORDERS = Counter("keepsake_orders_total", "Orders taken.")
PHOTOS = Counter("keepsake_order_photos_total", "Photos taken with orders.")
PHOTO_BYTES = Counter("keepsake_order_photo_bytes_total", "Bytes of photos taken with orders.")
HEARTBEAT_S = 15.0
UNDO_WAIT_S = 2.0
IncomingPhoto = UploadedFile[bytes | Path]


@dataclass(slots=True)
class OrphanCleanup:
    """Removes orphaned objects when they are due, and clears the spool."""

    orphans: Orphans
    objects: ObjectStore
    now: Callable[[], datetime]
    _undoing: BackgroundTasks = field(default_factory=BackgroundTasks, init=False)

    def undo(self, orphan: Orphan) -> asyncio.Task[None]:
        """Begin to remove what an upload has written so far, unless it has a row by now; what fails is done by the sweep."""
        return self._undoing.start(self._undo(orphan))

    async def _undo(self, orphan: Orphan) -> None:
        try:
            if await self.orphans.doom(orphan, self.now() + LEASE):
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
            await work_periodically("orphan_cleanup", self.sweep, INTERVAL_S)
        finally:
            await self._undoing.cancel()

    async def sweep(self) -> None:
        await self.objects.clear_stale(STALE_S)
        for orphan in await self.orphans.take_due(self.now(), self.now() + LEASE, AT_ONCE):
            await self.remove(orphan)

    async def _remove(self, orphan: Orphan) -> None:
        if orphan.filename:
            for key_of in (photo_key, thumbnail_key):
                await self.objects.delete(key_of(orphan.user_id, orphan.order_id, orphan.filename))
        else:
            for prefix in folders_of(orphan.user_id, orphan.order_id):
                await self.objects.delete_prefix(prefix)
        await self.orphans.removed(orphan, self.now() + LOOK_AGAIN)


@dataclass(frozen=True, slots=True)
class Pet:
    """What the customer wrote, as typed."""

    name: str | None = None
    type: str | None = None
    notes: str | None = None


def _format_of(photo: IncomingPhoto, limits: ImageLimits) -> ImageFormat:
    def read(data: bytes | mmap.mmap) -> ImageFormat:
        return require_image(data, declared_type=photo.declared_type, limits=limits, name=photo.filename).format

    if isinstance(photo.content, bytes):
        return read(photo.content)
    with photo.content.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return read(mapped)


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


@dataclass(slots=True)
class Uploading:
    """Takes photos and makes an order of them."""

    orders: OrderRepository
    photos: PhotoRepository
    orphans: Orphans
    objects: ObjectStore
    workers: ImageWorkers
    limits: ImageLimits
    cleanup: OrphanCleanup
    metadata_files: MetadataFiles
    order_events: OrderEvents
    on_order: Callable[[], None]
    now: Callable[[], datetime]
    looks: PhotoLooks = field(default_factory=dict)

    async def place(
        self, user_id: str, pet: Pet, incoming: Sequence[IncomingPhoto], answered: Callable[[Order], Answered]
    ) -> Order:
        """Check the photos, store them and keep the order; `answered` writes in the transaction that keeps it.

        Raises what `require_image` and the decoding check raise, naming the file, StorageFull, DependencyDown and
        Unavailable; whatever it raises, nothing is left of the order.
        """
        formats = [await self._format_of(photo) for photo in incoming]
        at, order_id, names = self.now(), new_order_id(), list[str]()
        for known in formats:
            names.append(new_filename(at, known.extension, names))
        async with self._all_or_nothing(Orphan(order_id, user_id)):
            work = (self._store(user_id, order_id, *each) for each in zip(names, formats, incoming, strict=True))
            stored = await asyncio.gather(*work, return_exceptions=True)  # to their end: to cancel one ends its worker
            photos = []
            for photo in stored:
                if isinstance(photo, BaseException):
                    raise photo
                photos.append(photo)
            order = Order(order_id, user_id, pet.name, pet.type, pet.notes, self.now(), tuple(photos))
            await self.orders.add(order, answered(order))
        ORDERS.inc()
        _count(photos)
        self.on_order()
        await self.metadata_files.write_first(order)
        return order

    async def replace(self, order: Order, filename: str, incoming: IncomingPhoto) -> Photo:
        """Put another photo in the place of the one named, and return it.

        The new bytes come first, then the row, then the old bytes go: at each moment the order has one photo or the other.
        Who asks again, because the answer got lost, gets it again.
        Raises what `place` raises, and OrderNotFound, PhotoNotFound, PhotoFixed; then the old photo stays.
        """
        old = photo_to_replace(order, filename)
        if old.filename != filename:
            if old.sha256 == incoming.sha256:
                return old
            raise PhotoNotFound
        known = await self._format_of(incoming)
        name = new_filename(self.now(), known.extension, {photo.filename for photo in order.photos})
        async with self._all_or_nothing(Orphan(order.id, order.user_id, name)):
            photo = replace(await self._store(order.user_id, order.id, name, known, incoming), replaces=filename)
            await self.photos.replace(order.id, filename, photo, self.now())
            PHOTO_CHANGES.labels("replaced").inc()
        _count([photo])
        await self.cleanup.remove(Orphan(order.id, order.user_id, filename))
        await self.order_events.announce(order.id)
        await self.metadata_files.write(order.id)
        return photo

    async def _format_of(self, incoming: IncomingPhoto) -> ImageFormat:
        """Read the header before anything is stored: it costs next to nothing, and refuses most of what is refused."""
        if isinstance(incoming.content, bytes):
            return _format_of(incoming, self.limits)
        return await asyncio.to_thread(_format_of, incoming, self.limits)

    async def _store(
        self, user_id: str, order_id: str, filename: str, known: ImageFormat, incoming: IncomingPhoto
    ) -> Photo:
        """Check a photo, look at it and put it in its place; with local storage a small one needs one call to a worker."""
        key, content = photo_key(user_id, order_id, filename), incoming.content
        file, data = (content, None) if isinstance(content, Path) else (new_spool_path(self.objects.spool), content)
        # A large file's sync takes long: the worker looks at the next photo meanwhile.
        placing = self.objects.placing({known.extension: key}) if data is not None else None
        try:
            made = await self.workers.prepare_photo(file, data, self.limits, place=placing.place if placing else None)
        except KeepsakeError as error:
            raise named(error, incoming.filename) from error
        except OSError as error:
            raise storage_error(error) from error
        finally:
            if data is not None:
                file.unlink(missing_ok=True)
        if made.key is None and data is not None:
            await self.objects.put_bytes(key, data, known.content_type)
        elif made.key is None:
            await self.objects.put_file(key, file, content_type=known.content_type, sha256=incoming.sha256)
        if made.look is not None:
            self.looks[order_id, filename] = made.look
        return Photo(
            filename,
            incoming.filename,
            known.content_type,
            incoming.size,
            made.width,
            made.height,
            incoming.sha256,
            placeholder=made.placeholder,
        )

    @asynccontextmanager
    async def _all_or_nothing(self, orphan: Orphan) -> AsyncIterator[None]:
        """Enter the upload where a crash would be found, and keep the entry alive; undo whatever does not get through."""
        stale = timedelta(seconds=STALE_S)
        try:
            await self.orphans.open(orphan, self.now() + stale)
            async with renewing(HEARTBEAT_S, lambda: self.orphans.extend(orphan, self.now() + stale)):
                yield
        except BaseException as error:
            # A commit whose answer got lost may have happened: the entry knows.
            undoing = self.cleanup.undo(orphan)
            # Where the store or the database hangs, the client has its answer in time all the same.
            if isinstance(error, KeepsakeError) and error.status < 500:
                await asyncio.wait([undoing], timeout=UNDO_WAIT_S)
            raise
