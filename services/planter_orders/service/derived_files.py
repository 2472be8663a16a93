"""What is made of an order once it is kept, and never part of keeping it: its metadata file, thumbnails, and quality."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.planter_orders.adapters.sql.jobs import PendingJobs, PhotoWork
from services.planter_orders.adapters.sql.orders import OrderRepository
from services.planter_orders.model.orders import Order, OrderFilter
from services.planter_orders.model.photos import Photo, judge, metadata_key, photo_key, thumbnail_key
from services.planter_orders.service.announcements import OrderEvents
from shared.concurrency.periodic import work_periodically
from shared.errors import KeepsakeError, NotAllowedValue
from shared.http.cursors import Position
from shared.images.decode_pool import ImageWorkers
from shared.images.photo_quality import PhotoFacts, PhotoLook
from shared.log import get_logger
from shared.objects import ObjectNotFound, ObjectStore
from shared.uploads import SpoolSink

INTERVAL_S = 2.0
DUE_AT_ONCE = 50
REVIEWED_AT_ONCE = 20
REVIEWED_IN_ALL = 1000
REVIEW_EVERY = timedelta(hours=1)

Render = Callable[[Order], bytes]
# By order and file name, what the check of a photo found out; not kept for long, nor by other processes.
PhotoLooks = MutableMapping[tuple[str, str], PhotoLook]
MAX_ATTEMPTS = 50
DAMAGED_ATTEMPTS = 3  # a worker may have been killed for another reason than the photo
LONGEST_WAIT_S = 600


@contextmanager
def _left_to_the_sweep() -> Iterator[None]:
    try:
        yield
    except KeepsakeError as error:
        get_logger().warning("metadata_file_deferred", code=error.code)


@dataclass(slots=True)
class MetadataFiles:
    """Writes metadata files one writer at a time, so that an older one never replaces a newer one.

    Beside what changes announce, the newest thousand are read at start and every hour, a few at a time: a file that
    somebody lost or damaged comes back.
    """

    orders: OrderRepository
    jobs: PendingJobs
    objects: ObjectStore
    render: Render
    now: Callable[[], datetime]
    _review_at: datetime = field(default=datetime.min.replace(tzinfo=UTC), init=False)
    _reviewed: int = field(default=0, init=False)
    _place: Position | None = field(default=None, init=False)

    async def write(self, order_id: str) -> None:
        """Write the order's metadata file until it is up to date; what fails is done later, by the sweep."""
        with _left_to_the_sweep():
            while (order := await self.jobs.take_metadata(order_id, self.now())) is not None:
                if await self._put(order):
                    return

    async def write_first(self, order: Order) -> None:
        """Write a new order's metadata file, which `OrderRepository.add` has taken for us; then as `write`."""
        with _left_to_the_sweep():
            if await self._put(order):
                return
        await self.write(order.id)

    async def run(self) -> None:
        """Sweep until cancelled."""
        await work_periodically("metadata_files", self.sweep, INTERVAL_S)

    async def sweep(self) -> None:
        """Write what is due, and review the next few."""
        for order_id in await self.jobs.metadata_due(self.now(), DUE_AT_ONCE):
            await self.write(order_id)
        if self.now() >= self._review_at:
            await self._review()

    async def _put(self, order: Order) -> bool:
        """Write the file; False where the order has changed meanwhile. Of an order deleted meanwhile nothing stays."""
        key = metadata_key(order.user_id, order.id)
        await self.objects.put_bytes(key, self.render(order), "application/json")
        version = await self.jobs.metadata_written(order, self.now())
        if version is None:  # its folder was emptied, perhaps before this file came into it
            await self.objects.delete(key)
            return True
        return version == order.version

    async def _review(self) -> None:
        orders = await self.orders.page(OrderFilter(), self._place, REVIEWED_AT_ONCE)
        for order in orders:
            if not await self._is_written(order):
                await self.jobs.request_metadata(order.id, self.now())
                await self.write(order.id)
        self._reviewed += len(orders)
        if len(orders) < REVIEWED_AT_ONCE or self._reviewed >= REVIEWED_IN_ALL:
            self._review_at, self._reviewed, self._place = self.now() + REVIEW_EVERY, 0, None
        else:
            self._place = Position(orders[-1].created_at, orders[-1].id)

    async def _is_written(self, order: Order) -> bool:
        expected = self.render(order)
        try:
            async with self.objects.open(metadata_key(order.user_id, order.id), length=len(expected) + 1) as found:
                return await found.read() == expected
        except ObjectNotFound:
            return False


@dataclass(slots=True)
class Thumbnails:
    """Looks at the photos of one order after the other; several processes share the queue."""

    jobs: PendingJobs
    objects: ObjectStore
    workers: ImageWorkers
    metadata_files: MetadataFiles
    order_events: OrderEvents
    now: Callable[[], datetime]
    looks: PhotoLooks = field(default_factory=dict)
    due: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Work until cancelled."""
        await work_periodically("thumbnails", self.sweep, INTERVAL_S, wake=self.due)

    async def sweep(self) -> None:
        while (work := await self.jobs.take_photos(self.now())) is not None:
            try:
                await self._look_at(work)
            except KeepsakeError as error:
                get_logger().warning("thumbnails_deferred", code=error.code, attempts=work.attempts)
                wait = timedelta(seconds=min(2**work.attempts, LONGEST_WAIT_S))
                await self.jobs.put_off_photos(work.order.id, self.now() + wait)
            await self._remove_stale(work.order)

    async def _look_at(self, work: PhotoWork) -> None:
        measured = [await self._measured(work, photo) for photo in work.order.photos]
        if await self.jobs.photos_done(work.order, judge(measured), self.now()):
            await self.order_events.announce(work.order.id)
            await self.metadata_files.write(work.order.id)

    async def _remove_stale(self, order: Order) -> None:
        """Remove thumbnails of photos that went meanwhile, perhaps before the thumbnail came."""
        present = await self.jobs.filenames(order.id)
        for photo in order.photos:
            if photo.filename not in present:
                await self.objects.delete(thumbnail_key(order.user_id, order.id, photo.filename))

    async def _measured(self, work: PhotoWork, photo: Photo) -> PhotoFacts | None:
        """Make the thumbnail and measure; None where it cannot be done and was tried often enough."""
        order = work.order
        key = thumbnail_key(order.user_id, order.id, photo.filename)
        try:
            if (look := self.looks.pop((order.id, photo.filename), None)) is not None:
                await self.objects.put_bytes(key, look.thumbnail, "image/webp")
                return look.measured
            async with self._source(order, photo) as source, self._spooled() as sink:
                target = await sink.finish()
                _, facts = await self.workers.thumbnail_and_inspect(source, target)
                await self.objects.put_file(key, target, content_type="image/webp")
                return facts
        except KeepsakeError as error:
            final = isinstance(error, NotAllowedValue | ObjectNotFound)
            if work.attempts >= (DAMAGED_ATTEMPTS if final else MAX_ATTEMPTS):
                get_logger().error("photo_unreadable", code=error.code)
                return None
            raise

    @asynccontextmanager
    async def _source(self, order: Order, photo: Photo) -> AsyncIterator[Path]:
        """Give the photo as a file: the object itself, or a copy from the bucket."""
        key = photo_key(order.user_id, order.id, photo.filename)
        if (path := self.objects.local_path(key)) is not None:
            if await self.objects.stat(key) is None:
                raise ObjectNotFound
            yield path
            return
        async with self._spooled() as sink:
            async with self.objects.open(key) as found:
                async for chunk in found.chunks:
                    await sink.write(chunk)
            yield await sink.finish()

    @asynccontextmanager
    async def _spooled(self) -> AsyncIterator[SpoolSink]:
        sink = SpoolSink(self.objects.spool)
        try:
            yield sink
        finally:
            await sink.discard()
