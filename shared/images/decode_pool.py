"""Processes that decode images: bounded in memory and time, so that a hostile file costs one task and nothing else."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
from collections.abc import AsyncIterator, Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import pebble

from shared.errors import StorageFull, Unavailable
from shared.images import decode_worker
from shared.images.formats.header import damaged
from shared.images.header import ImageFacts
from shared.images.photo_quality import PhotoFacts, Rendition
from shared.images.validation import ImageLimits

_Result = TypeVar("_Result")
_START_S = 30  # for a worker to come up on a busy machine; past that the pool itself is stuck


class ImageWorkers:
    """Image work in other processes, by path; no image bytes travel between them.

    Every method raises `NotAllowedValue` (`image_damaged`) where the image cannot be decoded, takes too long or takes
    its worker down with it, `Unavailable` (`image_workers_busy`) where too many wait already, and `StorageFull`.
    Cancelling a call ends its work. A target that could not be made is not left behind.
    """

    def __init__(self, *, processes: int, memory_bytes: int, timeout_s: float, queue_limit: int) -> None:
        """Start nothing yet: the first call does."""
        self._processes = processes
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._room = processes + queue_limit
        self._turns = asyncio.Semaphore(processes)
        self._starting = asyncio.Lock()
        self._closed = False
        self._pool: pebble.ProcessPool | None = None
        self._running: set[asyncio.Future[Any]] = set()

    async def check(self, source: Path, limits: ImageLimits) -> ImageFacts:
        """Decode every frame to the end; also raises what `require_image` does."""
        return await self._run(partial(decode_worker.check, source, limits))

    async def rendition(
        self, source: Path, target: Path, *, max_width: int, image_format: Literal["webp", "jpeg"], quality: int = 80
    ) -> Rendition:
        """Write to `target` an upright copy of the first frame, at most `max_width` pixels wide, never enlarged.

        It is in sRGB and carries no metadata; a JPEG of a transparent image is on white.
        """
        work = partial(
            decode_worker.rendition, source, target, max_width=max_width, image_format=image_format, quality=quality
        )
        return await self._make(target, work)

    async def thumbnail(self, source: Path, target: Path, *, max_side: int = 400) -> Rendition:
        """Write to `target` an upright WebP of the first frame, its sides at most `max_side` pixels."""
        return await self._make(target, partial(decode_worker.thumbnail, source, target, max_side=max_side))

    async def inspect(self, source: Path) -> PhotoFacts:
        """Measure a photo."""
        return await self._run(partial(decode_worker.inspect, source))

    async def thumbnail_and_inspect(
        self, source: Path, target: Path, *, max_side: int = 400
    ) -> tuple[Rendition, PhotoFacts]:
        """Do both with one decode."""
        return await self._make(target, partial(decode_worker.thumbnail_and_inspect, source, target, max_side=max_side))

    async def close(self) -> None:
        """End the processes; what runs is cancelled, what waits is refused."""
        async with self._starting:
            self._closed = True
            for future in self._running:
                future.cancel()
            if self._pool is not None:
                await asyncio.to_thread(_end, self._pool)

    async def _make(self, target: Path, work: Callable[[], _Result]) -> _Result:
        _touch(target)
        try:
            return await self._run(work)
        except BaseException:
            _discard(target)
            raise

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        if not self._room:
            raise Unavailable("Too many images are being worked on. Please try again.", code="image_workers_busy")
        self._room -= 1
        try:
            async with self._turns:
                return await self._scheduled(work)
        finally:
            self._room += 1

    async def _scheduled(self, work: Callable[[], _Result]) -> _Result:
        try:
            async with asyncio.timeout(self._timeout_s + _START_S) as overall:
                pool = await self._started()
                future = asyncio.wrap_future(pool.schedule(decode_worker.perform, (work,), timeout=self._timeout_s))
                self._running.add(future)
                future.add_done_callback(self._running.discard)
                result: _Result = await future
                return result
        except (TimeoutError, pebble.ProcessExpired) as error:
            if overall.expired():
                raise Unavailable(code="image_workers_busy") from error
            raise damaged() from error
        except BrokenProcessPool as error:
            raise Unavailable(code="image_workers_busy") from error
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StorageFull from error
            raise

    async def _started(self) -> pebble.ProcessPool:
        """Return a pool that works: started at first use, and anew after a worker died between two tasks."""
        async with self._starting:
            if self._closed:
                raise Unavailable
            if self._pool is None or not self._pool.active:
                if self._pool is not None:
                    await asyncio.to_thread(_end, self._pool)
                # Kept before it starts: a call that is cancelled meanwhile must not lose it.
                self._pool = pebble.ProcessPool(
                    max_workers=self._processes,
                    initializer=decode_worker.enter_worker,
                    initargs=(self._memory_bytes,),
                    context=multiprocessing.get_context("spawn"),
                )
                await asyncio.to_thread(getattr, self._pool, "active")  # asking starts it
            return self._pool


@asynccontextmanager
async def open_image_workers(
    *, processes: int = 2, memory_bytes: int = 2**30, timeout_s: float = 20, queue_limit: int = 32
) -> AsyncIterator[ImageWorkers]:
    """Open the workers; `queue_limit` calls may wait for one beyond those that are being worked on."""
    workers = ImageWorkers(processes=processes, memory_bytes=memory_bytes, timeout_s=timeout_s, queue_limit=queue_limit)
    try:
        yield workers
    finally:
        await workers.close()


def _end(pool: pebble.ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]  # pebble annotates only some of its methods
    pool.join()


def _touch(target: Path) -> None:
    try:
        target.touch()
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull from error
        raise


def _discard(target: Path) -> None:
    target.unlink(missing_ok=True)
