"""Telling other processes that an order has changed: over PostgreSQL, over Redis, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import sqlalchemy as sa
from redis import asyncio as aioredis
from redis.exceptions import RedisError

from shared.errors import KeepsakeError
from shared.log import get_logger
from shared.persistence.engine import Database, database_errors
from shared.persistence.redis import redis_errors

POSTGRES_CHANNEL = "planter_orders_changes"
REDIS_CHANNEL = "planter-orders:changes"
REDIS_POLL_S = 1.0
LOST = ""  # what is heard last when the connection ends


class Notifications(Protocol):
    """Tells the other processes that an order has changed; what gets lost delays, for they also look by themselves."""

    async def send(self, order_id: str) -> None:
        """Tell; never raises."""

    def received(self) -> AsyncIterator[str]:
        """Iterate over the orders that others tell of, first an empty id: from here on none is missed.

        Ends, or raises, when the connection is lost; then it can be asked again.
        """
        ...


class NoNotifications:
    """`Notifications` of one process; further ones on the same SQLite file find changes by looking."""

    async def send(self, order_id: str) -> None:
        """Tell nobody."""

    async def received(self) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""


class PostgresNotifications:
    """`Notifications` by LISTEN and NOTIFY, to every process at the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def send(self, order_id: str) -> None:
        try:
            async with self._database.begin() as connection:
                await connection.execute(
                    sa.text("SELECT pg_notify(:channel, :order_id)"),
                    {"channel": POSTGRES_CHANNEL, "order_id": order_id},
                )
        except KeepsakeError:
            get_logger().warning("order_notification_lost", through="postgres")

    async def received(self) -> AsyncIterator[str]:
        heard: asyncio.Queue[str] = asyncio.Queue()

        def hear(_connection: Any, _pid: int, _channel: str, order_id: str) -> None:
            heard.put_nowait(order_id)

        def lose(_connection: Any) -> None:
            heard.put_nowait(LOST)

        with database_errors():
            connection = await self._database.engine.connect()
        try:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.add_termination_listener(lose)
            await driver.add_listener(POSTGRES_CHANNEL, hear)
            yield ""
            while order_id := await heard.get():
                yield order_id
        finally:
            # Never back to the pool, where it would go on listening.
            await connection.invalidate()
            await connection.close()


class RedisNotifications:
    """`Notifications` by publish and subscribe, to every process at the same Redis."""

    def __init__(self, redis: aioredis.Redis) -> None:
        self._redis = redis

    async def send(self, order_id: str) -> None:
        try:
            await self._redis.publish(REDIS_CHANNEL, order_id)
        except (RedisError, OSError, TimeoutError):
            get_logger().warning("order_notification_lost", through="redis")

    async def received(self) -> AsyncIterator[str]:
        with redis_errors():
            async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(REDIS_CHANNEL)
                yield ""
                while True:
                    message = await subscription.get_message(timeout=REDIS_POLL_S)
                    if message is not None:
                        yield message["data"].decode("ascii", "replace")
