"""Signals over Redis' publish and subscribe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from redis import asyncio as aioredis
from redis.exceptions import RedisError

from shared.log import get_logger

CHANNEL = "planter-orders:changes"
AGAIN_S = 2.0
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
        """Subscribe, and do so again when the connection breaks."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(CHANNEL)
                    yield ""
                    while True:
                        message = await subscription.get_message(timeout=POLL_S)
                        if message is not None:
                            yield message["data"].decode("ascii", "replace")
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(AGAIN_S)
