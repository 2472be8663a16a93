"""Failed logins in Redis, so that any number of processes count together."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from redis import asyncio as aioredis
from redis.exceptions import RedisError

from services.auth_verify.adapters.memory import KEPT_S, MemoryFailedLogins
from services.auth_verify.model import Failures
from shared.persistence.redis import open_redis, redis_errors

ANSWER_TIMEOUT_S = 0.5
REST_AFTER_FAILURE_S = 2.0

T = TypeVar("T")


def _keys(account: str, address: str) -> tuple[str, str]:
    digest = hashlib.sha256(account.encode()).hexdigest()
    return f"failed-logins:{digest}:{address}", f"failed-logins:{digest}"


class RedisFailedLogins:
    """Counts that Redis expires by itself; while it does not answer, the process counts for itself."""

    def __init__(self, redis: aioredis.Redis) -> None:
        self._redis = redis
        self._meanwhile = MemoryFailedLogins()
        self._ask_again_at = 0.0

    async def count(self, account: str, address: str) -> Failures:
        async def ask() -> Failures:
            here, anywhere = await self._redis.mget(_keys(account, address))
            return Failures(int(here or 0), int(anywhere or 0))

        return await self._ask(ask, lambda: self._meanwhile.count(account, address))

    async def add(self, account: str, address: str) -> None:
        async def ask() -> None:
            async with self._redis.pipeline() as pipeline:
                for key in _keys(account, address):
                    pipeline.incr(key)
                    pipeline.expire(key, KEPT_S)
                await pipeline.execute()

        await self._ask(ask, lambda: self._meanwhile.add(account, address))

    async def forget(self, account: str, address: str) -> None:
        async def ask() -> None:
            await self._redis.delete(_keys(account, address)[0])

        await self._ask(ask, lambda: self._meanwhile.forget(account, address))

    async def check(self) -> None:
        with redis_errors():
            await self._redis.ping()

    async def _ask(self, ask: Callable[[], Awaitable[T]], otherwise: Callable[[], Awaitable[T]]) -> T:
        """Ask Redis for at most half a second; after a failure, not again for a moment."""
        if time.monotonic() >= self._ask_again_at:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    return await ask()
            except (RedisError, OSError, TimeoutError):
                self._ask_again_at = time.monotonic() + REST_AFTER_FAILURE_S
        return await otherwise()


@asynccontextmanager
async def open_redis_failed_logins(url: str) -> AsyncIterator[RedisFailedLogins]:
    async with open_redis(url) as redis:
        yield RedisFailedLogins(redis)
