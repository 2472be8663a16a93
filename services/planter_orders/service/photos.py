"""Thumbnails and quality: made soon after an order is kept, and never part of keeping it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from services.planter_orders.model.layout import photo_key, thumbnail_key
from services.planter_orders.model.orders import Order, Photo
from services.planter_orders.model.quality import judge
from services.planter_orders.ports import Chores, PhotoWork
from services.planter_orders.service.descriptions import Descriptions
from services.planter_orders.service.working import keep_working
from shared.errors import KeepsakeError, NotAllowedValue
from shared.images.decode_pool import ImageWorkers
from shared.images.photo_quality import PhotoFacts
from shared.log import get_logger
from shared.objects import BlobStore, ObjectNotFound
from shared.uploads import SpoolSink

INTERVAL_S = 2.0
MAX_ATTEMPTS = 50
DAMAGED_ATTEMPTS = 3  # a worker may have been killed for another reason than the photo
LONGEST_WAIT_S = 600


class PhotoStudio:
    """Looks at the photos of one order after the other; several processes share the queue."""

    def __init__(
        self,
        *,
        chores: Chores,
        blobs: BlobStore,
        workers: ImageWorkers,
        descriptions: Descriptions,
        now: Callable[[], datetime],
    ) -> None:
        self._chores = chores
        self._blobs = blobs
        self._workers = workers
        self._descriptions = descriptions
        self._now = now
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        await keep_working("photos", self.sweep, self._wake, INTERVAL_S)

    async def sweep(self) -> None:
        """Do all that is due."""
        while (work := await self._chores.take_photos(self._now())) is not None:
            try:
                await self._look_at(work)
            except KeepsakeError as error:
                get_logger().warning("photos wait", code=error.code, attempts=work.attempts)
                wait = timedelta(seconds=min(2**work.attempts, LONGEST_WAIT_S))
                await self._chores.put_off_photos(work.order.id, self._now() + wait)

    async def _look_at(self, work: PhotoWork) -> None:
        measured = [await self._measured(work, photo) for photo in work.order.photos]
        await self._chores.photos_done(work.order, judge(measured), self._now())
        await self._descriptions.write(work.order.id)

    async def _measured(self, work: PhotoWork, photo: Photo) -> PhotoFacts | None:
        """Make the thumbnail and measure; None where it cannot be done and was tried often enough."""
        order = work.order
        try:
            async with self._source(order, photo) as source, self._spooled() as sink:
                target = await sink.finish()
                _, facts = await self._workers.thumbnail_and_inspect(source, target)
                key = thumbnail_key(order.user_id, order.id, photo.filename)
                await self._blobs.put_file(key, target, content_type="image/webp")
                return facts
        except KeepsakeError as error:
            final = isinstance(error, NotAllowedValue | ObjectNotFound)
            if work.attempts >= (DAMAGED_ATTEMPTS if final else MAX_ATTEMPTS):
                get_logger().error("a photo could not be looked at", code=error.code)
                return None
            raise

    @asynccontextmanager
    async def _source(self, order: Order, photo: Photo) -> AsyncIterator[Path]:
        """Give the photo as a file: the object itself, or a copy from the bucket."""
        key = photo_key(order.user_id, order.id, photo.filename)
        if (path := self._blobs.local_path(key)) is not None:
            if await self._blobs.stat(key) is None:
                raise ObjectNotFound
            yield path
            return
        async with self._spooled() as sink:
            async with self._blobs.open(key) as found:
                async for chunk in found.chunks:
                    await sink.write(chunk)
            yield await sink.finish()

    @asynccontextmanager
    async def _spooled(self) -> AsyncIterator[SpoolSink]:
        sink = SpoolSink(self._blobs.spool)
        try:
            yield sink
        finally:
            await sink.discard()
