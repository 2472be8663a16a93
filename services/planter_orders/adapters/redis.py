"""Signals over Redis' publish and subscribe."""

from __future__ import annotations

from collections.abc import AsyncIterator

from redis import asyncio as aioredis
from redis.exceptions import RedisError

from shared.log import get_logger
from shared.persistence.redis import redis_errors

CHANNEL = "planter-orders:changes"
POLL_S = 1.0


class RedisSignals:
    """`Signals` that every process at the same Redis gets."""

    def __init__(self, redis: aioredis.Redis) -> None:
        self._redis = redis

    async def send(self, order_id: str) -> None:
        """Publish."""
        try:
            await self._redis.publish(CHANNEL, order_id)
        except (RedisError, OSError, TimeoutError):
            get_logger().warning("a change was not announced through redis")

    async def received(self) -> AsyncIterator[str]:
        """Subscribe on a connection of its own."""
        with redis_errors():
            async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(CHANNEL)
                yield ""
                while True:
                    message = await subscription.get_message(timeout=POLL_S)
                    if message is not None:
                        yield message["data"].decode("ascii", "replace")
