"""Rate limits per client: a moving window, in Redis where there is one, else (and while it is down) in this process."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from cachetools import LRUCache
from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis import asyncio as aioredis
from redis.exceptions import RedisError

from gateway.metrics import LIMITS_IN_PROCESS
from gateway.route_table import Limit
from gateway.settings import GatewaySettings
from shared.errors import TooManyRequests
from shared.persistence.redis import open_redis

REDIS_PATIENCE_S = 0.25
REST_AFTER_FAILURE_S = 3.0
MAX_WINDOWS = 20_000


class ProcessWindows:
    """Moving windows in memory, the longest unused forgotten first.

    The library's own in-memory storage starts a task and a thread per request to expire what is old; here it expires
    when it is looked at.
    """

    def __init__(self) -> None:
        self._windows: LRUCache[tuple[str, str], deque[float]] = LRUCache(MAX_WINDOWS)

    def hit(self, rate: RateLimitItem, limit: str, client: str) -> float:
        """Count a request and return 0, or count nothing and return the seconds until there is room again."""
        now = time.monotonic()
        window = self._windows.get((limit, client))
        if window is None:
            window = self._windows[limit, client] = deque()
        oldest = now - rate.get_expiry()
        while window and window[0] <= oldest:
            window.popleft()
        if len(window) >= rate.amount:
            return window[0] - oldest
        window.append(now)
        return 0.0

    def take_back(self, limit: str, client: str) -> None:
        """Forget the latest request counted: it was refused elsewhere."""
        window = self._windows.get((limit, client))
        if window:
            window.pop()


class RedisWindows:
    """Moving windows that all gateways share: a script in Redis counts, so that simultaneous requests never exceed them."""

    def __init__(self, redis: aioredis.Redis) -> None:
        pool: Any = redis.connection_pool  # documented as an option, though the signature leaves it out
        storage = RedisStorage("async+redis://", implementation="redispy", connection_pool=pool)
        self._limiter = MovingWindowRateLimiter(storage)

    async def hit(self, rate: RateLimitItem, limit: str, client: str) -> float:
        """Count as ProcessWindows does; raises what redis-py raises, or TimeoutError after a quarter of a second."""
        async with asyncio.timeout(REDIS_PATIENCE_S):
            if await self._limiter.hit(rate, limit, client):
                return 0.0
            reset_at, _ = await self._limiter.get_window_stats(rate, limit, client)
            return max(reset_at - time.time(), 0.001)


class Limits:
    """Counts requests per client and limit; refuses with the time after which one is let through again."""

    def __init__(self, rates: Mapping[Limit, RateLimitItem | None], shared: RedisWindows | None = None) -> None:
        self._rates = {limit: rate for limit, rate in rates.items() if rate is not None}
        self._own = ProcessWindows()
        self._shared = shared
        self._shared_rests_until = 0.0

    async def count(self, limit: Limit, client: str) -> None:
        """Count one request of `client` to its limit and to the default one; raises TooManyRequests."""
        for name in {limit: None, Limit.DEFAULT: None}:
            rate = self._rates.get(name)
            if rate is not None and (wait_s := await self._hit(rate, name, client)):
                raise _too_many(name, rate, wait_s)

    async def _hit(self, rate: RateLimitItem, limit: Limit, client: str) -> float:
        # Counted here in any case: where Redis does not answer in time, what was let through before still counts.
        wait_s = self._own.hit(rate, limit, client)
        if wait_s or self._shared is None:
            return wait_s
        if time.monotonic() >= self._shared_rests_until:
            try:
                wait_s = await self._shared.hit(rate, limit, client)
            except (RedisError, OSError, TimeoutError):
                # Requests must not queue up behind a Redis that is down: try it again in a moment.
                self._shared_rests_until = time.monotonic() + REST_AFTER_FAILURE_S
            else:
                if wait_s:
                    self._own.take_back(limit, client)
                return wait_s
        LIMITS_IN_PROCESS.inc()
        return 0.0


def _too_many(limit: Limit, rate: RateLimitItem, wait_s: float) -> TooManyRequests:
    seconds = math.ceil(wait_s)
    return TooManyRequests(
        f"Too many requests. Please try again in {seconds} {'second' if seconds == 1 else 'seconds'}.",
        headers={
            "Retry-After": str(seconds),
            # draft-ietf-httpapi-ratelimit-headers
            "RateLimit": f'"{limit}";r=0;t={seconds}',
            "RateLimit-Policy": f'"{limit}";q={rate.amount};w={rate.get_expiry()}',
        },
    )


@asynccontextmanager
async def open_limits(settings: GatewaySettings) -> AsyncIterator[Limits]:
    rates = {
        Limit.DEFAULT: settings.rate_limit_default,
        Limit.LOGIN: settings.rate_limit_login,
        Limit.STORE_IMAGE: settings.rate_limit_store_image,
    }
    if not settings.redis_url:
        yield Limits(rates)
        return
    async with open_redis(settings.redis_url) as redis:
        yield Limits(rates, RedisWindows(redis))
