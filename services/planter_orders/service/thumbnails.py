"""Thumbnails and quality: made soon after an order is kept, and never part of keeping it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from services.planter_orders.adapters.sql import PendingJobs, PhotoWork
from services.planter_orders.model.object_keys import photo_key, thumbnail_key
from services.planter_orders.model.orders import Order
from services.planter_orders.model.photos import Photo, judge
from services.planter_orders.service.metadata_files import MetadataFiles
from services.planter_orders.service.order_events import OrderEvents
from shared.concurrency.periodic import work_periodically
from shared.errors import KeepsakeError, NotAllowedValue
from shared.images.decode_pool import ImageWorkers
from shared.images.photo_quality import PhotoFacts
from shared.log import get_logger
from shared.objects import ObjectNotFound, ObjectStore
from shared.uploads import SpoolSink

INTERVAL_S = 2.0
MAX_ATTEMPTS = 50
DAMAGED_ATTEMPTS = 3  # a worker may have been killed for another reason than the photo
LONGEST_WAIT_S = 600


class Thumbnails:
    """Looks at the photos of one order after the other; several processes share the queue."""

    def __init__(
        self,
        *,
        jobs: PendingJobs,
        objects: ObjectStore,
        workers: ImageWorkers,
        metadata_files: MetadataFiles,
        order_events: OrderEvents,
        now: Callable[[], datetime],
    ) -> None:
        self._jobs = jobs
        self._objects = objects
        self._workers = workers
        self._metadata_files = metadata_files
        self._order_events = order_events
        self._now = now
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        await work_periodically("thumbnails", self.sweep, INTERVAL_S, wake=self._wake)

    async def sweep(self) -> None:
        """Do all that is due."""
        while (work := await self._jobs.take_photos(self._now())) is not None:
            try:
                await self._look_at(work)
            except KeepsakeError as error:
                get_logger().warning("thumbnails_deferred", code=error.code, attempts=work.attempts)
                wait = timedelta(seconds=min(2**work.attempts, LONGEST_WAIT_S))
                await self._jobs.put_off_photos(work.order.id, self._now() + wait)
            await self._remove_stale(work.order)

    async def _look_at(self, work: PhotoWork) -> None:
        """Make the thumbnails and judge the photos."""
        measured = [await self._measured(work, photo) for photo in work.order.photos]
        if await self._jobs.photos_done(work.order, judge(measured), self._now()):
            await self._order_events.announce(work.order.id)
            await self._metadata_files.write(work.order.id)

    async def _remove_stale(self, order: Order) -> None:
        """Remove thumbnails of photos that went meanwhile, perhaps before the thumbnail came."""
        present = await self._jobs.filenames(order.id)
        for photo in order.photos:
            if photo.filename not in present:
                await self._objects.delete(thumbnail_key(order.user_id, order.id, photo.filename))

    async def _measured(self, work: PhotoWork, photo: Photo) -> PhotoFacts | None:
        """Make the thumbnail and measure; None where it cannot be done and was tried often enough."""
        order = work.order
        try:
            async with self._source(order, photo) as source, self._spooled() as sink:
                target = await sink.finish()
                _, facts = await self._workers.thumbnail_and_inspect(source, target)
                key = thumbnail_key(order.user_id, order.id, photo.filename)
                await self._objects.put_file(key, target, content_type="image/webp")
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
        if (path := self._objects.local_path(key)) is not None:
            if await self._objects.stat(key) is None:
                raise ObjectNotFound
            yield path
            return
        async with self._spooled() as sink:
            async with self._objects.open(key) as found:
                async for chunk in found.chunks:
                    await sink.write(chunk)
            yield await sink.finish()

    @asynccontextmanager
    async def _spooled(self) -> AsyncIterator[SpoolSink]:
        sink = SpoolSink(self._objects.spool)
        try:
            yield sink
        finally:
            await sink.discard()
