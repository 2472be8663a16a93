"""RedisUploadKeys: what was uploaded under a key, until Redis itself expires it; a lease while an upload runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict
from functools import partial

from redis import asyncio as aioredis
from redis.exceptions import OutOfMemoryError

from services.temp_image.model import KeptUpload, new_secret
from shared.app.idempotency_key import key_in_use
from shared.concurrency.periodic import renewing
from shared.errors import DependencyDown, StorageFull
from shared.persistence.redis import redis_errors

LEASE_S = 30.0
RENEW_S = LEASE_S / 3
_END = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@contextmanager
def store_errors() -> Iterator[None]:
    try:
        with redis_errors():
            yield
    except DependencyDown as error:
        if isinstance(error.__cause__, OutOfMemoryError):
            raise StorageFull from error
        raise


class RedisUploadKeys:
    """The UploadKeys that any number of machines share."""

    def __init__(self, redis: aioredis.Redis) -> None:
        self._redis = redis
        self._end = redis.register_script(_END)

    @asynccontextmanager
    async def reserved(self, slot: str) -> AsyncIterator[KeptUpload | None]:
        """Set the lease, which ends by itself with the process that renews it, and get what is kept."""
        lease, owner = f"temp-image:{{{slot}}}:upload", new_secret()
        with store_errors():
            if not await self._redis.set(lease, owner, nx=True, px=int(LEASE_S * 1000)):
                raise key_in_use()
        try:
            async with renewing(RENEW_S, partial(self._renew, lease)):
                with store_errors():
                    kept = await self._redis.get(_name(slot))
                yield KeptUpload(**json.loads(kept)) if kept else None
        finally:
            with suppress(DependencyDown, StorageFull):
                await asyncio.shield(self._release(lease, owner))

    async def remember(self, slot: str, kept: KeptUpload) -> None:
        """Set the key, which ends at the image's hour."""
        with store_errors():
            await self._redis.set(_name(slot), json.dumps(asdict(kept)), pxat=int(kept.expires_at * 1000))

    async def _renew(self, lease: str) -> None:
        with store_errors():
            await self._redis.pexpire(lease, int(LEASE_S * 1000))

    async def _release(self, lease: str, owner: str) -> None:
        with store_errors():
            await self._end(keys=[lease], args=[owner])


def _name(slot: str) -> str:
    return f"temp-image:{{{slot}}}:key"
