"""Ended sessions in Redis, which forgets them by itself."""

from __future__ import annotations

import asyncio
import time

from redis import asyncio as aioredis
from redis.exceptions import RedisError

from shared.auth.revocations import KEPT_S, digest_of
from shared.metrics import REVOCATIONS_UNKNOWN
from shared.persistence.redis import redis_errors

ASK_TIMEOUT_S = 0.5
REST_AFTER_FAILURE_S = 2.0


class RedisRevocations:
    """Keys that Redis expires by itself."""

    def __init__(self, redis: aioredis.Redis) -> None:
        self._redis = redis
        self._ask_again_at = 0.0

    async def revoke(self, sid: str) -> None:
        """Write the session down in Redis; raise DependencyDown if that fails."""
        with redis_errors():
            await self._redis.set(f"revoked:{digest_of(sid)}", b"1", ex=KEPT_S)

    async def is_revoked(self, sid: str) -> bool:
        """Ask Redis for at most half a second; after a failure, not again for a moment, so that requests do not queue."""
        if time.monotonic() >= self._ask_again_at:
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    return bool(await self._redis.exists(f"revoked:{digest_of(sid)}"))
            except (RedisError, OSError, TimeoutError):
                self._ask_again_at = time.monotonic() + REST_AFTER_FAILURE_S
        REVOCATIONS_UNKNOWN.inc()
        return False
