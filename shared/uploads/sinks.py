"""Where an uploaded file's bytes go while they arrive: memory, or a spool file."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from shared.errors import DependencyDown, KeepsakeError, StorageFull

BUFFER_BYTES = 256 * 1024
SPOOL_PREFIX = "spool-"
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
        """Forget the chunks."""
        self._chunks.clear()


class SpoolSink:
    """Writes a file to `folder` under a random name, 256 KiB at a time, each in one trip to a thread.

    The file stays open and locked until `discard`: a lock tells a living process's file from what a killed one left,
    also while a slow client takes minutes for the rest of the form.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{SPOOL_PREFIX}{secrets.token_hex(16)}"
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._file: BinaryIO | None = None
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
        if self._chunks or self._file is None:
            await self._flush()
        return self._path

    async def discard(self) -> None:
        """Close the file and unlink it, if it is still there."""
        self._chunks = []
        if not self._busy:
            if self._file is None:
                return
            if self._was_taken():
                self._file.close()
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
            await asyncio.get_running_loop().run_in_executor(None, self._store, chunks)
        except OSError as error:
            raise storage_error(error) from error
        self._busy = False

    def _store(self, chunks: list[bytes]) -> None:
        with self._lock:
            if self._gone:
                return
            if self._file is None:
                self._file = open(self._path, "xb", opener=_open_private)  # noqa: SIM115 - stays open: its lock
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.writelines(chunks)
            self._file.flush()

    def _remove(self) -> None:
        with self._lock:
            self._gone = True
            if self._file is not None:
                with suppress(OSError):  # a full disk refuses the buffer's rest once more
                    self._file.close()
                with suppress(OSError):
                    self._path.unlink()


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


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
