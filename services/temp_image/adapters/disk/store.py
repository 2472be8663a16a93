"""DiskImageStore: one file per image, a record of 64 bytes and then the image.

Whoever reads or changes the record holds the file's lock. It stands first because a write within one page is never seen
half-done, not even when the process is killed. Claiming and using up an image rewrite it in place, so they work on a full
disk, too.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from services.temp_image.model import (
    CLAIM_STANDS_S,
    ClaimLapsed,
    ImageContent,
    ImageDescription,
    ImageGone,
    content_type_of,
)
from shared.concurrency.inline_io import run_inline
from shared.errors import DependencyDown
from shared.images.formats.header import Buffer
from shared.images.validation import HEAD_BYTES, ImageFormat, sniff
from shared.tracing import traced
from shared.uploads import sinks
from shared.uploads.sinks import NO_ROOM, SMALL_BYTES, SmallFileSink, storage_error

RECORD_BYTES = 64
NO_CLAIM = bytes(16)
HOLDS_SUFFIX = ".holds"

_LAYOUT = struct.Struct("<8sQd??6x16sd8x")
_MAGIC = b"tempimg\1"
# Faults in the whole file at once, in the thread that maps it.
_MAP_FLAGS = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)

T = TypeVar("T")


@dataclass(slots=True)
class Record:
    """An image's state; `size` in bytes, moments in Unix seconds; `held` where it was ever held."""

    size: int
    expires_at: float
    used: bool = False
    held: bool = False
    claim: bytes = NO_CLAIM
    claimed_at: float = 0.0

    def pack(self) -> bytes:
        """Write the record."""
        return _LAYOUT.pack(_MAGIC, self.size, self.expires_at, self.used, self.held, self.claim, self.claimed_at)

    @classmethod
    def unpack(cls, head: bytes) -> Self:
        """Read the record at the beginning of `head`."""
        return cls(*_LAYOUT.unpack_from(head)[1:])

    def is_claimed(self, now: float) -> bool:
        return self.claim != NO_CLAIM and now < self.claimed_at + CLAIM_STANDS_S


class ImageFile:
    """An image's file, open and locked within a `with` block.

    Entering raises ImageGone where there is no file, or, without `allow_half`, only a half-written one; and
    BlockingIOError where it is locked and that is not awaited.
    """

    def __init__(self, path: str, *, wait: bool = True, allow_half: bool = False) -> None:
        self.path = path
        self._allow_half = allow_half
        self._lock = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise ImageGone from None
        try:
            fcntl.flock(self._descriptor, self._lock)
            self._read_head()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # A map keeps a copy of the descriptor, which would keep the lock for as long as the image is being sent.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)

    def _read_head(self) -> None:
        head = os.pread(self._descriptor, RECORD_BYTES + HEAD_BYTES, 0)
        status = os.fstat(self._descriptor)
        # Whoever waited for the lock of a file that was removed meanwhile has one without a name.
        self.is_whole = status.st_nlink > 0 and len(head) >= RECORD_BYTES and head.startswith(_MAGIC)
        if self.is_whole:
            self.record = Record.unpack(head)
            self.is_whole = status.st_size == RECORD_BYTES + self.record.size
        self.written_at = status.st_mtime
        self._head = head[RECORD_BYTES:]
        if not (self.is_whole or self._allow_half):
            raise ImageGone

    def save(self) -> None:
        os.pwrite(self._descriptor, self.record.pack(), 0)

    def remove(self) -> None:
        """Remove the holds and then the image, so that a kill in between leaves nothing without its image."""
        self._remove_holds()
        with suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108 - a path of its own would cost as much as the removal

    def remove_if_done(self, now: float) -> bool:
        """Remove what nobody can have any more: the image, or holds that have ended; tell whether the image went."""
        if self.last_hold_ends_at() > now or self.record.is_claimed(now):
            return False
        if self.record.used or now >= self.record.expires_at:
            self.remove()
            return True
        self._remove_holds()
        return False

    def _remove_holds(self) -> None:
        if self.is_whole and self.record.held:
            remove_holds(self.path)

    def describe(self) -> ImageDescription:
        return ImageDescription(content_type_of(self._head), self.record.size)

    def read(self) -> ImageContent:
        """Return the bytes: a small image's copied, a large one's mapped, which costs a tenth of reading it."""
        if self.record.size <= SMALL_BYTES:
            return ImageContent(content_type_of(self._head), os.pread(self._descriptor, self.record.size, RECORD_BYTES))
        self._warm()
        mapped = mmap.mmap(self._descriptor, 0, flags=_MAP_FLAGS, prot=mmap.PROT_READ)
        return ImageContent(content_type_of(self._head), memoryview(mapped)[RECORD_BYTES:])

    def _warm(self) -> None:
        """Have the system read the file: mapping one that it has forgotten would stop every thread meanwhile.

        Sending it nowhere copies nothing: 5 MB take 0.04 ms where they are remembered.
        """
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        at = 0
        try:
            with suppress(OSError):  # a system whose sendfile takes sockets alone
                while sent := os.sendfile(nowhere, self._descriptor, at, self.record.size):
                    at += sent
        finally:
            os.close(nowhere)

    def last_hold_ends_at(self) -> float:
        """Return when the last of all holds ends; 0 where there is none."""
        if self.record.held:
            with suppress(FileNotFoundError), os.scandir(holds_folder(self.path)) as holds:
                return max((hold.stat().st_mtime for hold in holds), default=0.0)
        return 0.0

    def hold(self, holder: str, until: float) -> None:
        """Hold the image until then, or move the end of the hold."""
        if not self.record.held:
            self.record.held = True
            self.save()
        folder = holds_folder(self.path)
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / holder).open("ab").close()  # not touch(): it would end a standing hold for a moment
        os.utime(folder / holder, (until, until))

    def is_held_by(self, holder: str, now: float) -> bool:
        with suppress(FileNotFoundError):
            return (holds_folder(self.path) / holder).stat().st_mtime > now
        return False


class DiskImageStore:
    """The ImageStore of one machine. Nothing is synced: images must outlive the process, not the machine."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = str(folder)
        self._spool = folder / "spool"
        self._clock = clock
        self.open_sink = partial(SmallFileSink, self._spool, RECORD_BYTES)

    @traced("disk", "put")
    async def put(
        self, image_id: str, content: bytes | Path, *, expires_at: float, check: Callable[[Buffer], object]
    ) -> None:
        """Check and keep the image; a large one that may take long by its header in a thread: any but a JPEG."""

        def work(*, wait: bool) -> None:
            if isinstance(content, bytes):
                check(content)
                _create(self._path(image_id), Record(len(content), expires_at), content)
                return
            with (
                content.open("r+b", buffering=0) as file,
                mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
                memoryview(mapped) as whole,
                whole[RECORD_BYTES:] as image,
            ):
                if not wait and sniff(bytes(image[:HEAD_BYTES])) is not ImageFormat.JPEG:
                    raise BlockingIOError
                check(image)
                file.write(Record(len(image), expires_at).pack())
            content.rename(self._path(image_id))

        await _promptly(work)

    @traced("disk", "describe")
    async def describe(self, image_id: str) -> ImageDescription:
        def work() -> ImageDescription:
            with self._opened(image_id) as image:
                self._require_public(image)
                return image.describe()

        return await _in_thread(work)

    @traced("disk", "claim")
    async def claim(self, image_id: str, claim: str) -> ImageContent:
        """Write the claim into the record, and read the image with it; a large one in one trip to a thread."""

        def work(*, wait: bool) -> ImageContent:
            with self._opened(image_id, wait=wait) as image:
                self._require_public(image)
                if not wait and image.record.size > SMALL_BYTES:
                    raise BlockingIOError
                content = image.read()
                image.record.claim, image.record.claimed_at = bytes.fromhex(claim), self._clock()
                image.save()
                return content

        return await _promptly(work)

    @traced("disk", "renew")
    async def renew(self, image_id: str, claim: str) -> None:
        def change(image: ImageFile) -> None:
            image.record.claimed_at = self._clock()
            image.save()

        await self._settle(image_id, claim, change)

    @traced("disk", "release")
    async def release(self, image_id: str, claim: str) -> None:
        def change(image: ImageFile) -> None:
            image.record.claim = NO_CLAIM
            image.save()

        await self._settle(image_id, claim, change)

    @traced("disk", "confirm")
    async def confirm(self, image_id: str, claim: str) -> None:
        """Remove the image, or mark it used while somebody holds it."""

        def change(image: ImageFile) -> None:
            if image.last_hold_ends_at() > self._clock():
                image.record.used, image.record.claim = True, NO_CLAIM
                image.save()
            else:
                image.remove()

        await self._settle(image_id, claim, change)

    async def _settle(self, image_id: str, claim: str, change: Callable[[ImageFile], None]) -> None:
        def work(*, wait: bool) -> None:
            with self._opened(image_id, wait=wait) as image:
                if image.record.claim != bytes.fromhex(claim) or not image.record.is_claimed(self._clock()):
                    raise ClaimLapsed
                change(image)

        try:
            await _promptly(work)
        except ImageGone:
            raise ClaimLapsed from None

    @traced("disk", "hold")
    async def hold(self, image_id: str, holder: str, until: float) -> ImageDescription:
        def work() -> ImageDescription:
            with self._opened(image_id) as image:
                if not image.is_held_by(holder, self._clock()):
                    self._require_public(image)
                image.hold(holder, until)
                return image.describe()

        return await _in_thread(work)

    @traced("disk", "release hold")
    async def release_hold(self, image_id: str, holder: str) -> None:
        """Remove the hold, and the image where nothing else keeps it."""

        def work() -> None:
            with suppress(ImageGone), self._opened(image_id) as image:
                (holds_folder(image.path) / holder).unlink(missing_ok=True)
                image.remove_if_done(self._clock())

        await _in_thread(work)

    @traced("disk", "read held")
    async def read_held(self, image_id: str, holder: str) -> ImageContent:
        def work() -> ImageContent:
            with self._opened(image_id) as image:
                if not image.is_held_by(holder, self._clock()):
                    raise ImageGone
                return image.read()

        return await _in_thread(work)

    async def check(self) -> None:
        """Make a file and remove it; on a full disk, reading and deleting still work."""

        def work() -> None:
            probe = sinks.new_spool_path(self._spool)
            try:
                probe.touch(mode=0o600, exist_ok=False)
                probe.unlink()
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise DependencyDown("storage") from error

        await _in_thread(work)

    def _path(self, image_id: str) -> str:
        return f"{self._folder}/{image_id[:2]}/{image_id}"

    def _opened(self, image_id: str, *, wait: bool = True) -> ImageFile:
        return ImageFile(self._path(image_id), wait=wait)

    def _require_public(self, image: ImageFile) -> None:
        now, record = self._clock(), image.record
        has_ended = now >= record.expires_at and now >= image.last_hold_ends_at()
        if record.used or record.is_claimed(now) or has_ended:
            raise ImageGone


async def _in_thread(work: Callable[[], T]) -> T:
    """Run one piece of blocking work; whatever keeps the disk from doing it becomes StorageFull or DependencyDown."""
    try:
        return await asyncio.get_running_loop().run_in_executor(None, work)
    except OSError as error:
        raise storage_error(error) from error


async def _promptly(work: Callable[..., T]) -> T:
    """Run `work(wait=False)` here, which may raise BlockingIOError, or `work(wait=True)` in a thread; raise as above."""
    try:
        return await run_inline(partial(work, wait=False), partial(work, wait=True))
    except OSError as error:
        raise storage_error(error) from error


def _create(path: str, record: Record, content: Buffer) -> None:
    """Write a new file; raises OSError, and then nothing stays."""
    descriptor = os.open(path, sinks.NEW_FILE, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # free, or the sweeper's for the moment in which it looks
        sinks.write_whole(descriptor, (record.pack(), content))
    except BaseException:
        os.unlink(path)  # noqa: PTH108 - as above
        raise
    finally:
        os.close(descriptor)


def holds_folder(path: str) -> Path:
    """Return where the holds of an image are: empty files named by holder, whose modification times are their ends."""
    return Path(path + HOLDS_SUFFIX)


def remove_holds(path: str) -> None:
    folder = holds_folder(path)
    with suppress(FileNotFoundError):
        for hold in folder.iterdir():
            hold.unlink(missing_ok=True)
        folder.rmdir()
