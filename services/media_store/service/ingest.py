"""Taking an image in: checked, freed of its metadata, put in its place, and taken away again where the rest fails."""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TypeVar

from services.media_store.adapters.cloudinary import Cloudinary
from shared.concurrency.background_tasks import BackgroundTasks, to_its_end
from shared.errors import DependencyDown, KeepsakeError
from shared.images.decode_pool import ImageWorkers
from shared.images.validation import CONVERTED, ImageFacts, ImageFormat, ImageLimits, PreparedImage, require_image
from shared.log import get_logger
from shared.objects import ObjectExists, ObjectStore
from shared.uploads.sinks import NEW_FILE, SmallFileSink, new_spool_path, storage_error

UNDO_WAIT_S = 5.0
UNDO_WAIT_WHEN_DOWN_S = 0.3  # the answer is due within 3 s, and most of that may be gone
WAIT_AT_STOP_S = 3.0

ResultT = TypeVar("ResultT")
Keys = Callable[[ImageFormat], Iterator[str]]


@dataclass(frozen=True, slots=True)
class KeptImage:
    """An image that is stored durably at `key`, and what is known of it."""

    key: str
    prepared: PreparedImage


class Ingest:
    """Checks images and puts them into the object store; with local storage a small one needs one call to a worker."""

    def __init__(
        self, objects: ObjectStore | Cloudinary, workers: ImageWorkers, limits: ImageLimits, *, strip: bool
    ) -> None:
        """With `strip`, what is stored carries no metadata."""
        self._objects = objects
        self._workers = workers
        self._limits = limits
        self._strip = strip
        self._tasks = BackgroundTasks()
        self.open_sink = partial(SmallFileSink, objects.spool)

    async def take(
        self,
        content: bytes | Path,
        declared_type: str | None,
        keys: Keys,
        add: Callable[[KeptImage], Awaitable[ResultT]],
    ) -> ResultT:
        """Check an image, store it durably, then `add` its row; return what that returns.

        `content` is its bytes, or its spool file. `keys` names the keys it may have in a format; it gets the first that is
        free. The work goes on to its end even when the call is cancelled. Where the row cannot be added, the object is
        deleted; where that fails too, `reconcile` finds it. Raises what `require_image` does, `image_damaged`,
        Unavailable, StorageFull or DependencyDown.
        """
        return await to_its_end(self._tasks.start(self._take(content, declared_type, keys, add)))

    async def close(self) -> None:
        """Wait a moment for images that are still being stored, and for what is still being undone."""
        await self._tasks.finish(WAIT_AT_STOP_S)

    async def _take(
        self,
        content: bytes | Path,
        declared_type: str | None,
        keys: Keys,
        add: Callable[[KeptImage], Awaitable[ResultT]],
    ) -> ResultT:
        with ExitStack() as made:
            file = new_spool_path(self._objects.spool)
            made.callback(file.unlink, missing_ok=True)
            prepared = await self._prepared(content, file, declared_type, keys)
            kept = KeptImage(prepared.key or await self._place(file, prepared, keys), prepared)
            try:
                return await add(kept)
            except DependencyDown:
                await self._undo(kept.key, UNDO_WAIT_WHEN_DOWN_S)
                raise
            except Exception:
                # When the process ends the object stays: its row may exist, and an object without a row does less harm.
                await self._undo(kept.key, UNDO_WAIT_S)
                raise

    async def _prepared(
        self, content: bytes | Path, file: Path, declared_type: str | None, keys: Keys
    ) -> PreparedImage:
        placing = None
        if isinstance(content, bytes):  # small; a large one is placed by `_place`, while the worker decodes the next
            placing = self._objects.placing(
                {known.extension: next(keys(known)) for known in ImageFormat if known not in CONVERTED}
            )
        place = placing.place if placing else None
        try:
            return await self._workers.prepare(
                content, file, declared_type, self._limits, strip=self._strip, place=place
            )
        except BaseException as error:
            if placing is not None:
                await asyncio.to_thread(placing.undo, file)
            if isinstance(error, OSError):
                raise storage_error(error) from error
            raise

    async def _place(self, file: Path, prepared: PreparedImage, keys: Keys) -> str:
        """Do in threads, or over the network, what the worker left to do."""
        known = prepared.facts.format
        with file.open("rb") as held:
            with suppress(BlockingIOError):  # held already: an upload's own file
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            for key in keys(known):
                try:
                    await self._objects.put_file(
                        key, file, content_type=known.content_type, sha256=prepared.sha256, if_absent=True
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

    async def _undo(self, key: str, wait_s: float) -> None:
        """Delete what a failed call may have stored; after `wait_s`, or where the call is cancelled, it goes on by itself."""
        await asyncio.wait([self._tasks.start(self._delete(key))], timeout=wait_s)

    async def _delete(self, key: str) -> None:
        try:
            await self._objects.delete(key)
        except KeepsakeError as error:  # `reconcile` finds it
            get_logger().warning("object_left_without_row", code=error.code)


def hold_spool_file(path: Path, made: ExitStack) -> FileIO:
    """Make a spool file that stays open and locked until `made` clears it away: no sweep takes it for a dead process's."""
    descriptor = os.open(path, NEW_FILE, 0o600)
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
