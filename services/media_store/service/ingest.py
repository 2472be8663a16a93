"""Taking an image in: checked, freed of its metadata, put in its place, and taken away again where the rest fails."""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from services.media_store.adapters.cloudinary import Cloudinary
from shared.concurrency.waiting import to_its_end
from shared.errors import DependencyDown, KeepsakeError
from shared.images.decode_pool import ImageWorkers
from shared.images.header import ImageFacts, PreparedImage
from shared.images.validation import ImageLimits, require_image
from shared.log import get_logger
from shared.objects import BlobStore, ObjectExists
from shared.uploads import SpoolSink
from shared.uploads.sinks import new_spool_path, storage_error

UNDO_WAIT_S = 5.0
UNDO_WAIT_WHEN_DOWN_S = 0.3  # the answer is due within 3 s, and most of that may be gone
WAIT_AT_STOP_S = 3.0

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """An image that may be stored: the spool file to store, and what is known of it."""

    path: Path
    prepared: PreparedImage

    @property
    def content_type(self) -> str:
        """The type that it is served under."""
        return self.prepared.facts.format.content_type


class Intake:
    """Checks images and puts them into the object store."""

    def __init__(
        self, blobs: BlobStore | Cloudinary, workers: ImageWorkers, limits: ImageLimits, *, strip: bool
    ) -> None:
        """With `strip`, what is stored carries no metadata."""
        self._blobs = blobs
        self._workers = workers
        self._limits = limits
        self._strip = strip
        self._under_way: set[asyncio.Task[Any]] = set()

    def open_sink(self) -> SpoolSink:
        """Open a file for an upload on its way in."""
        return SpoolSink(self._blobs.spool)

    @asynccontextmanager
    async def checked(self, source: Path, declared_type: str | None) -> AsyncIterator[CheckedImage]:
        """Check the image in the spool file `source`, and make what is to be stored of it.

        Raises what `require_image` does, `image_damaged`, Unavailable, StorageFull or DependencyDown.
        """
        with ExitStack() as made:
            target = self._new_target(made) if self._strip else None
            prepared = await self._workers.prepare(source, target, declared_type, self._limits)
            yield CheckedImage(target or source, prepared)

    def _new_target(self, made: ExitStack) -> Path:
        path = new_spool_path(self._blobs.spool)
        try:
            hold_spool_file(path, made)
        except OSError as error:
            raise storage_error(error) from error
        return path

    async def keep(self, image: CheckedImage, keys: Iterator[str], add: Callable[[str], Awaitable[ResultT]]) -> ResultT:
        """Store the image durably at the first of `keys` that is free, then `add` its row; return what that returns.

        Where the row cannot be added, the object is taken away again. A commit goes on when the call is cancelled: it is
        waited for, and then both are there or neither.
        """
        key = await self._place(image, keys)
        return await to_its_end(self._begin(self._add(key, add)))

    async def close(self) -> None:
        """Wait a moment for rows that are still being added, and for what is still being undone."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=WAIT_AT_STOP_S)

    async def _place(self, image: CheckedImage, keys: Iterator[str]) -> str:
        for key in keys:
            try:
                await self._blobs.put_file(
                    key, image.path, content_type=image.content_type, sha256=image.prepared.sha256, if_absent=True
                )
            except ObjectExists:
                continue
            except DependencyDown:  # the store itself
                await self._undo(key, 0.0)
                raise
            except BaseException:
                await self._undo(key, UNDO_WAIT_S)
                raise
            return key
        raise ObjectExists

    async def _add(self, key: str, add: Callable[[str], Awaitable[ResultT]]) -> ResultT:
        try:
            return await add(key)
        except DependencyDown:
            await self._undo(key, UNDO_WAIT_WHEN_DOWN_S)
            raise
        except Exception:
            # Not where the process ends: there may be a row then, and an object without one is the lesser loss.
            await self._undo(key, UNDO_WAIT_S)
            raise

    async def _undo(self, key: str, wait_s: float) -> None:
        """Delete what a failed call may have stored; after `wait_s`, or where the call is cancelled, it goes on by itself."""
        await asyncio.wait([self._begin(self._delete(key))], timeout=wait_s)

    def _begin(self, work: Coroutine[Any, Any, ResultT]) -> asyncio.Task[ResultT]:
        """Begin what goes on when its call is cancelled."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _delete(self, key: str) -> None:
        try:
            await self._blobs.delete(key)
        except KeepsakeError as error:  # `reconcile` finds it
            get_logger().warning("an object without a row was left behind", code=error.code)


def hold_spool_file(path: Path, made: ExitStack) -> FileIO:
    """Make a spool file that stays open and locked until `made` clears it away: no sweep takes it for a dead process's."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    made.callback(partial(path.unlink, missing_ok=True))
    file = made.enter_context(FileIO(descriptor, "wb"))
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def require_header(path: Path, limits: ImageLimits) -> ImageFacts:
    """Return the facts of the image in a file. Blocking; raises what `require_image` does."""
    with _mapped(path) as data:
        return require_image(data, declared_type=None, limits=limits)


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            yield b""  # nothing cannot be mapped
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
