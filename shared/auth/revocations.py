"""Which sessions have ended before their access tokens did: one small entry per session, kept as long as a token may live."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

KEPT_S = 16 * 60  # an access token lives 15 minutes, and 30 s of leeway


def digest_of(sid: str) -> str:
    """Name the session by what fits in a file's name and a key, whatever another issuer calls it."""
    return hashlib.sha256(sid.encode("utf-8", "surrogatepass")).hexdigest()


class Revocations(Protocol):
    """The list of ended sessions."""

    async def revoke(self, sid: str) -> None:
        """Add the session durably for as long as its tokens may live; raise DependencyDown if that fails."""

    async def is_revoked(self, sid: str) -> bool:
        """Tell whether the session has ended; False, counted in a metric, where the list is out of reach."""


class DiskRevocations:
    """Empty files named by the session's digest, in a folder that the processes of one machine share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, sid: str) -> Path:
        return self._folder / digest_of(sid)

    async def revoke(self, sid: str) -> None:
        """Create the file, and remove those that are older than any token."""
        await asyncio.to_thread(self._revoke, sid)

    def _revoke(self, sid: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path(sid).touch()
        oldest = time.time() - KEPT_S
        for entry in os.scandir(self._folder):
            if entry.stat().st_mtime < oldest:
                Path(entry.path).unlink(missing_ok=True)

    async def is_revoked(self, sid: str) -> bool:
        """Look whether the file is there: a stat of a local folder costs less than a thread."""
        return self._path(sid).exists()


@asynccontextmanager
async def open_revocations(redis_url: str, data_dir: Path) -> AsyncIterator[Revocations]:
    """Open the list in Redis where one is given, else on disk."""
    if not redis_url:
        yield DiskRevocations(data_dir / "revoked")
        return
    # redis-py takes a tenth of a second and 8 MB to import: only where there is a Redis.
    from shared.auth.redis_revocations import RedisRevocations  # noqa: PLC0415
    from shared.persistence.redis import open_redis  # noqa: PLC0415

    async with open_redis(redis_url) as redis:
        yield RedisRevocations(redis)
