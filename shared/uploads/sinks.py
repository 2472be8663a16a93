"""Where an uploaded file's bytes go while they arrive: memory, or a spool file."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from shared.concurrency.inline_io import run_inline
from shared.errors import DependencyDown, KeepsakeError, StorageFull
from shared.images.formats.header import Buffer

BUFFER_BYTES = 256 * 1024
SMALL_BYTES = 256 * 1024
MOST_PIECES = 1024  # IOV_MAX
SPOOL_PREFIX = "spool-"
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW  # by this name there is nothing yet, nor a link
# EFBIG: the limit on a file's size (ulimit -f), which an operator sets for the same end.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

ContentT_co = TypeVar("ContentT_co", covariant=True)


class FileSink(Protocol[ContentT_co]):
    """Takes one file's bytes in order. Whoever opens it calls `discard` in the end, also after `finish`."""

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises StorageFull or DependencyDown."""

    async def finish(self) -> ContentT_co:
        """Return what was written, whole. Raises StorageFull or DependencyDown."""

    async def discard(self) -> None:
        """Let go of everything, at any time and more than once; what was moved elsewhere stays there."""


class MemorySink:
    """Keeps a file in memory; whoever writes bounds it."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    async def write(self, chunk: bytes) -> None:
        """Keep `chunk`, uncopied."""
        self._chunks.append(chunk)

    async def finish(self) -> bytes:
        """Join the chunks; a file that came as one chunk is not copied."""
        content = b"".join(self._chunks)
        self._chunks.clear()
        return content

    async def discard(self) -> None:
        self._chunks.clear()


def new_spool_path(folder: Path) -> Path:
    """Return where a new spool file goes: a name that nobody has used or can guess."""
    return folder / f"{SPOOL_PREFIX}{secrets.token_hex(16)}"


class SpoolSink:
    """Writes a file to `folder` under a random name, 256 KiB at a time.

    The file stays open and locked until `discard`: a lock tells a living process's file from what a killed one left,
    also while a slow client takes minutes for the rest of the form.
    """

    def __init__(self, folder: Path) -> None:
        self._path = new_spool_path(folder)
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._descriptor: int | None = None
        self._busy = False  # a thread has, or a cancelled caller left it with, something to do
        self._gone = False
        self._lock = threading.Lock()

    async def write(self, chunk: bytes) -> None:
        """Buffer `chunk`, and write the buffer out when it is full. Raises StorageFull or DependencyDown."""
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        if self._buffered >= BUFFER_BYTES:
            await self._flush()

    async def finish(self) -> Path:
        """Return the file's path, all bytes written (not synced). Raises StorageFull or DependencyDown."""
        if self._chunks or self._descriptor is None:
            await self._flush()
        return self._path

    async def discard(self) -> None:
        """Close the file and unlink it, if it is still there."""
        self._chunks = []
        if not self._busy:
            if self._descriptor is None:
                return
            if self._was_taken():
                self._close()
                return
        # Shielded: the file goes even where the caller is cancelled once more.
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._remove))

    def _was_taken(self) -> bool:
        # One look into the kernel's name cache, where a trip to a thread costs twenty times as much.
        return not os.path.lexists(self._path)

    async def _flush(self) -> None:
        chunks, self._chunks, self._buffered = self._chunks, [], 0
        self._busy = True
        try:
            await run_inline(partial(self._store, chunks))
        except OSError as error:
            raise storage_error(error) from error
        self._busy = False

    def _store(self, chunks: list[bytes]) -> None:
        with self._lock:
            if self._gone:
                return
            if self._descriptor is None:
                self._descriptor = os.open(self._path, NEW_FILE, 0o600)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write_whole(self._descriptor, chunks if len(chunks) <= MOST_PIECES else [b"".join(chunks)])

    def _remove(self) -> None:
        with self._lock:
            self._gone = True
            if self._descriptor is not None:
                self._close()
                with suppress(OSError):
                    self._path.unlink()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class SmallFileSink:
    """Ends as `bytes` where the file is small, so that it is written once, where it is kept; else as a spool file's path.

    The spool file begins with `head_bytes` zeros, for what its keeper writes there.
    """

    def __init__(self, folder: Path, head_bytes: int = 0) -> None:
        self._folder = folder
        self._head_bytes = head_bytes
        self._size = 0
        self._chunks: list[bytes] = []
        self._spool: SpoolSink | None = None

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises StorageFull or DependencyDown."""
        self._size += len(chunk)
        self._chunks.append(chunk)
        if self._size > SMALL_BYTES:
            if self._spool is None:
                self._spool = SpoolSink(self._folder)
                self._chunks.insert(0, bytes(self._head_bytes))
            chunks, self._chunks = self._chunks, []
            for piece in chunks:
                await self._spool.write(piece)

    async def finish(self) -> bytes | Path:
        """Return the bytes, or the spool file. Raises StorageFull or DependencyDown."""
        return b"".join(self._chunks) if self._spool is None else await self._spool.finish()

    async def discard(self) -> None:
        self._chunks = []
        if self._spool is not None:
            await self._spool.discard()


def write_whole(descriptor: int, pieces: Sequence[Buffer]) -> None:
    """Write the pieces, at most 1024; raises OSError, also where the file took a part only: there is no room for the rest."""
    if os.writev(descriptor, pieces) < sum(map(len, pieces)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def storage_error(error: OSError) -> KeepsakeError:
    """Say what a failed write means to the client."""
    return StorageFull() if error.errno in NO_ROOM else DependencyDown("storage")


def clear_stale_spool(folder: Path, older_than_s: float = 60) -> int:
    """Unlink spool files that no living process holds and that got no byte for `older_than_s` seconds; count them.

    Blocking: for a start, or a thread.
    """
    cleared = 0
    for path in folder.glob(f"{SPOOL_PREFIX}*"):
        with suppress(OSError):  # held by a living process (BlockingIOError), or gone meanwhile
            if time.time() - path.lstat().st_mtime <= older_than_s:
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                cleared += 1
            finally:
                os.close(descriptor)
    return cleared
