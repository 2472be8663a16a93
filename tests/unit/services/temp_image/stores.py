"""Each kind of image store for a test, with a way to let time pass in it and to see what it has left over."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from redis import asyncio as aioredis

from services.temp_image.adapters.disk import open_disk_store
from services.temp_image.adapters.disk.store import RECORD_BYTES, DiskImageStore, Record
from services.temp_image.adapters.disk.sweep import Sweeper
from services.temp_image.adapters.redis import open_redis_store
from services.temp_image.ports import ImageStore
from shared.images.validation import ImageLimits, require_image

HOUR_S = 3600

# Redis's clock cannot be set: what is to come is moved nearer instead.
PASS_TIME = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TYPE', key).ok == 'zset' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -ARGV[1], member) end
  end
  redis.call('PEXPIRE', key, redis.call('PTTL', key) - ARGV[1])
end
"""


def check(content: Any) -> None:
    require_image(content, declared_type="image/jpeg", limits=ImageLimits())


class Stores(Protocol):
    """A store under test, and what surrounds it."""

    @property
    def store(self) -> ImageStore[Any]: ...

    def now(self) -> float: ...

    async def pass_time(self, seconds: float) -> None:
        """Let the store's clock go on."""

    async def leftovers(self) -> list[str]:
        """List what is still there once everything due was removed."""


def thirty_seconds_pass(data_dir: Path, image_id: str) -> None:
    """Move the last renewal of a claim back, which nobody can wait for."""
    path = data_dir / "temp-images" / image_id[:2] / image_id
    with path.open("r+b") as file:
        record = Record.unpack(file.read(RECORD_BYTES))
        record.claimed_at -= 31
        file.seek(0)
        file.write(record.pack())


async def keep(stores: Stores, image: bytes, *, ttl_s: float = HOUR_S) -> str:
    """Put an image the way an upload does, and return its id."""
    image_id, sink = uuid4().hex, stores.store.open_sink()
    try:
        for start in range(0, len(image), 100_000):
            await sink.write(image[start : start + 100_000])
        await stores.store.put(image_id, await sink.finish(), expires_at=stores.now() + ttl_s, check=check)
    finally:
        await sink.discard()
    return image_id


@dataclass
class DiskStores:
    folder: Path
    store: DiskImageStore = field(init=False)
    ahead_s: float = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_s

    async def pass_time(self, seconds: float) -> None:
        self.ahead_s += seconds

    def sweeper(self) -> Sweeper:
        return Sweeper(self.folder, self.now)

    async def leftovers(self) -> list[str]:
        self.sweeper().sweep()
        return [str(path) for path in self.folder.rglob("*") if path.is_file() and path.name != "sweep.lock"]


@asynccontextmanager
async def open_disk_stores(folder: Path) -> AsyncIterator[DiskStores]:
    stores = DiskStores(folder)
    async with open_disk_store(folder, stores.now) as stores.store:
        yield stores


@dataclass
class RedisStores:
    redis: aioredis.Redis
    store: ImageStore[Any]

    def now(self) -> float:
        return time.time()

    async def pass_time(self, seconds: float) -> None:
        await self.redis.eval(PASS_TIME, 0, int(seconds * 1000))

    async def leftovers(self) -> list[str]:
        return [os.fsdecode(key) for key in await self.redis.keys("*")]


@asynccontextmanager
async def open_redis_stores(url: str) -> AsyncIterator[RedisStores]:
    async with aioredis.Redis.from_url(url) as redis, open_redis_store(url) as store:
        yield RedisStores(redis, store)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a thread or another process has made it so."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")
