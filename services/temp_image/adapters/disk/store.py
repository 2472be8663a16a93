"""DiskImageStore: one file per image, with its state in the first 64 bytes."""

from __future__ import annotations

import asyncio
import mmap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from services.temp_image.adapters.disk.image_file import (
    NO_CLAIM,
    RECORD_BYTES,
    ImageFile,
    Record,
    complete,
    create,
)
from services.temp_image.adapters.disk.sweep import keep_sweeping
from services.temp_image.model import ClaimLapsed, ImageContent, ImageDescription, ImageGone
from shared.concurrency.inline_io import promptly
from shared.errors import DependencyDown
from shared.images.formats.header import Buffer
from shared.tracing import traced
from shared.uploads.sinks import NO_ROOM, SMALL_BYTES, SmallFileSink, new_spool_path, storage_error

P = ParamSpec("P")
T = TypeVar("T")


async def _in_thread(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Run one piece of blocking work; whatever keeps the disk from doing it becomes StorageFull or DependencyDown."""
    try:
        return await asyncio.get_running_loop().run_in_executor(None, lambda: work(*args, **options))
    except OSError as error:
        raise storage_error(error) from error


async def _promptly(work: Callable[..., T]) -> T:
    """Run `work(wait=False)` here, which may raise BlockingIOError, or `work(wait=True)` in a thread; raise as above."""
    try:
        return await promptly(partial(work, wait=False), partial(work, wait=True))
    except OSError as error:
        raise storage_error(error) from error


class DiskImageStore:
    """The ImageStore of one machine. Nothing is synced: images must outlive the process, not the machine."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._spool = folder / "spool"
        self._clock = clock

    def open_sink(self) -> SmallFileSink:
        """Open a sink for one upload."""
        return SmallFileSink(self._spool, RECORD_BYTES)

    @traced("disk", "put")
    async def put(
        self, image_id: str, content: bytes | Path, *, expires_at: float, check: Callable[[Buffer], object]
    ) -> None:
        """Check and keep the image; a large one in one trip to a thread."""
        await _promptly(partial(self._put, image_id, content, expires_at, check))

    @traced("disk", "describe")
    async def describe(self, image_id: str) -> ImageDescription:
        """Describe a public image."""
        return await _in_thread(self._describe, image_id)

    @traced("disk", "claim")
    async def claim(self, image_id: str, claim: str) -> ImageContent:
        """Write the claim into the record, and read the image with it; a large one in one trip to a thread."""
        return await _promptly(partial(self._claim, image_id, bytes.fromhex(claim)))

    @traced("disk", "renew")
    async def renew(self, image_id: str, claim: str) -> None:
        """Move the claim's moment."""
        await _promptly(partial(self._settle, image_id, claim, self._renewed))

    @traced("disk", "release")
    async def release(self, image_id: str, claim: str) -> None:
        """Take the claim out of the record."""
        await _promptly(partial(self._settle, image_id, claim, self._released))

    @traced("disk", "confirm")
    async def confirm(self, image_id: str, claim: str) -> None:
        """Remove the image, or mark it used while somebody holds it."""
        await _promptly(partial(self._settle, image_id, claim, self._confirmed))

    @traced("disk", "hold")
    async def hold(self, image_id: str, holder: str, until: float) -> ImageDescription:
        """Write the hold's end."""
        return await _in_thread(self._hold, image_id, holder, until)

    @traced("disk", "release hold")
    async def release_hold(self, image_id: str, holder: str) -> None:
        """Remove the hold, and the image where nothing else keeps it."""
        with suppress(ImageGone):
            await _in_thread(self._release_hold, image_id, holder)

    @traced("disk", "read held")
    async def read_held(self, image_id: str, holder: str) -> ImageContent:
        """Read what is held."""
        return await _in_thread(self._read_held, image_id, holder)

    async def check(self) -> None:
        """Make a file and remove it; on a full disk, reading and deleting still work."""
        await _in_thread(self._check)

    def _path(self, image_id: str) -> str:
        return f"{self._folder}/{image_id[:2]}/{image_id}"

    @contextmanager
    def _opened(self, image_id: str, *, wait: bool = True) -> Iterator[ImageFile]:
        with ImageFile(self._path(image_id), wait=wait) as image:
            if not image.is_whole:
                raise ImageGone
            yield image

    def _require_public(self, image: ImageFile) -> None:
        now, record = self._clock(), image.record
        if record.used or record.is_claimed(now):
            raise ImageGone
        if now >= record.expires_at and now >= image.last_hold_ends_at():
            raise ImageGone

    def _put(
        self,
        image_id: str,
        content: bytes | Path,
        expires_at: float,
        check: Callable[[Buffer], object],
        *,
        wait: bool,
    ) -> None:
        path = self._path(image_id)
        if isinstance(content, bytes):
            check(content)
            create(path, Record(len(content), expires_at), content)
            return
        if not wait:
            raise BlockingIOError
        with content.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            size = len(mapped) - RECORD_BYTES
            with memoryview(mapped) as whole, whole[RECORD_BYTES:] as image:
                check(image)
        complete(content, path, Record(size, expires_at))

    def _describe(self, image_id: str) -> ImageDescription:
        with self._opened(image_id) as image:
            self._require_public(image)
            return image.describe()

    def _claim(self, image_id: str, claim: bytes, *, wait: bool) -> ImageContent:
        with self._opened(image_id, wait=wait) as image:
            self._require_public(image)
            if not wait and image.record.size > SMALL_BYTES:
                raise BlockingIOError
            content = image.read()
            image.record.claim, image.record.claimed_at = claim, self._clock()
            image.save()
            return content

    def _settle(self, image_id: str, claim: str, change: Callable[[ImageFile], None], *, wait: bool) -> None:
        try:
            with self._opened(image_id, wait=wait) as image:
                if image.record.claim != bytes.fromhex(claim) or not image.record.is_claimed(self._clock()):
                    raise ClaimLapsed
                change(image)
        except ImageGone:
            raise ClaimLapsed from None

    def _renewed(self, image: ImageFile) -> None:
        image.record.claimed_at = self._clock()
        image.save()

    def _released(self, image: ImageFile) -> None:
        image.record.claim = NO_CLAIM
        image.save()

    def _confirmed(self, image: ImageFile) -> None:
        if image.last_hold_ends_at() > self._clock():
            image.record.used = True
            self._released(image)
        else:
            image.remove()

    def _hold(self, image_id: str, holder: str, until: float) -> ImageDescription:
        with self._opened(image_id) as image:
            if not image.is_held_by(holder, self._clock()):
                self._require_public(image)
            image.hold(holder, until)
            return image.describe()

    def _release_hold(self, image_id: str, holder: str) -> None:
        with self._opened(image_id) as image:
            image.release_hold(holder)
            image.remove_if_done(self._clock())

    def _read_held(self, image_id: str, holder: str) -> ImageContent:
        with self._opened(image_id) as image:
            if not image.is_held_by(holder, self._clock()):
                raise ImageGone
            return image.read()

    def _check(self) -> None:
        probe = new_spool_path(self._spool)
        try:
            probe.touch(mode=0o600, exist_ok=False)
            probe.unlink()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise DependencyDown("storage") from error


def make_folders(folder: Path) -> None:
    """Make what the store expects in its folder, where it is not there yet."""
    for name in ("spool", *(f"{first:02x}" for first in range(256))):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)


@asynccontextmanager
async def open_disk_store(folder: Path, clock: Callable[[], float] = time.time) -> AsyncIterator[DiskImageStore]:
    """Open the store in `folder`, and sweep it in the background for as long as it is open."""
    await asyncio.to_thread(make_folders, folder)
    store = DiskImageStore(folder, clock)
    sweeping = asyncio.create_task(keep_sweeping(folder, clock))
    try:
        yield store
    finally:
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
