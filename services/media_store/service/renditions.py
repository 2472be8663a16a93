"""Smaller copies of images, made when they are first asked for and kept beside the original."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

from services.media_store.model.images import ImageNotFound, rendition_key
from services.media_store.service.ingest import hold_spool_file, require_header
from shared.errors import Unavailable
from shared.images.decode_pool import ImageWorkers
from shared.images.validation import ImageLimits
from shared.objects import ObjectFacts, ObjectStore
from shared.uploads import SpoolSink
from shared.uploads.sinks import new_spool_path, storage_error

MAX_IN_THE_MAKING = 16  # uploads wait for the same workers and must not find them taken

RenditionFormat = Literal["webp", "jpeg"]
EXTENSIONS: dict[RenditionFormat, str] = {"webp": "webp", "jpeg": "jpg"}


class Renditions:
    """Finds renditions, or has each of them made by one worker, however many ask for it at once."""

    def __init__(
        self,
        objects: ObjectStore,
        workers: ImageWorkers,
        limits: ImageLimits,
        is_shown: Callable[[str], Awaitable[bool]],
    ) -> None:
        """`is_shown` tells whether the original with a key is still there."""
        self._objects = objects
        self._workers = workers
        self._limits = limits
        self._is_shown = is_shown
        self._making: dict[str, asyncio.Task[ObjectFacts]] = {}

    async def get(self, original: str, version: str, *, max_width: int, image_format: RenditionFormat) -> ObjectFacts:
        """Return the rendition of the object with key `original` and ETag `version`.

        Raises ImageNotFound, what refuses a damaged image, Unavailable where too many are being made,
        StorageFull or DependencyDown.
        """
        key = rendition_key(original, version, max_width, EXTENSIONS[image_format])
        found = await self._objects.stat(key)
        if found is not None:
            return found
        task = self._making.get(key)
        if task is None:
            if len(self._making) >= MAX_IN_THE_MAKING:
                raise Unavailable("Too many images are being worked on. Please try again.", code="image_workers_busy")
            task = self._making[key] = asyncio.create_task(self._make(original, key, max_width, image_format))
            task.add_done_callback(lambda done: self._made(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        for task in self._making.values():
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    def _made(self, key: str, task: asyncio.Task[ObjectFacts]) -> None:
        del self._making[key]
        if not task.cancelled():
            task.exception()  # looked at, also where nobody waits any more

    async def _make(self, original: str, key: str, max_width: int, image_format: RenditionFormat) -> ObjectFacts:
        target = new_spool_path(self._objects.spool)
        try:
            with ExitStack() as made:
                hold_spool_file(target, made)
                async with self._as_file(original) as source:
                    await asyncio.to_thread(require_header, source, self._limits)
                    await self._workers.rendition(source, target, max_width=max_width, image_format=image_format)
                await self._objects.put_file(key, target, content_type=f"image/{image_format}")
        except FileNotFoundError as error:  # deleted meanwhile
            raise ImageNotFound from error
        except OSError as error:
            raise storage_error(error) from error
        # A deletion marks the row before it clears the renditions: what it could not see any more is cleared here.
        if not await self._is_shown(original):
            await self._objects.delete(key)
            raise ImageNotFound
        facts = await self._objects.stat(key)
        if facts is None:
            raise ImageNotFound
        return facts

    @asynccontextmanager
    async def _as_file(self, key: str) -> AsyncIterator[Path]:
        """Give the object as a file that a worker can read: itself, or a copy."""
        path = self._objects.local_path(key)
        if path is not None:
            yield path
            return
        sink = SpoolSink(self._objects.spool)
        try:
            async with self._objects.open(key) as reader:
                async for chunk in reader.chunks:
                    await sink.write(chunk)
            yield await sink.finish()
        finally:
            await sink.discard()
