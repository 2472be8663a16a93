"""DiskUploadKeys: a file of JSON for each key, beside the images; whoever uploads under it holds the file's lock."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from services.temp_image.model import KeptUpload
from shared.app.idempotency_key import key_in_use
from shared.uploads.sinks import storage_error

KEY_SUFFIX = ".key"


class DiskUploadKeys:
    """The UploadKeys of one machine; a lock ends with its process."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self._held: dict[str, int] = {}  # the descriptors of the slots that uploads of this process hold

    @asynccontextmanager
    async def reserved(self, slot: str) -> AsyncIterator[KeptUpload | None]:
        """Lock the slot's file, and read it; an empty one goes with its upload."""
        try:
            descriptor = _lock(self._path(slot))  # a few looks into the kernel's caches
        except OSError as error:
            raise storage_error(error) from error
        self._held[slot] = descriptor
        try:
            kept = _read(descriptor)
            yield kept if kept is not None and self._clock() < kept.expires_at else None
        finally:
            del self._held[slot]
            if not os.fstat(descriptor).st_size:
                self._path(slot).unlink(missing_ok=True)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process that is just being started may have the descriptor, too
            os.close(descriptor)

    async def remember(self, slot: str, kept: KeptUpload) -> None:
        """Write the file anew; what a full disk keeps from being written is no JSON, and counts as nothing."""
        descriptor = self._held[slot]
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(kept)).encode(), 0)
        except OSError as error:
            raise storage_error(error) from error

    def _path(self, slot: str) -> Path:
        return self._folder / slot[:2] / f"{slot}{KEY_SUFFIX}"


def _lock(path: Path) -> int:
    """Open and lock the file; raises Conflict where somebody holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):  # whoever held it before may have removed it
                if os.path.samestat(path.lstat(), os.fstat(descriptor)):
                    return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise key_in_use() from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _read(descriptor: int) -> KeptUpload | None:
    try:
        return KeptUpload(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None


def remove_key_if_done(path: Path, now: float) -> None:
    """Remove a key's file whose hour is over, unless an upload holds it. Blocking."""
    with suppress(FileNotFoundError, BlockingIOError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            kept = _read(descriptor)
            if kept is None or now >= kept.expires_at:
                path.unlink(missing_ok=True)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)
