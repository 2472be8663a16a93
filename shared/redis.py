"""One Redis client per process, with bounded waits; aioredis lives on as `redis.asyncio` (docs/decisions/0001)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from shared.errors import DependencyDown

CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 2.0
MAX_CONNECTIONS = 128


@contextmanager
def redis_errors() -> Iterator[None]:
    """Translate whatever keeps Redis from answering into DependencyDown."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise DependencyDown("redis") from error


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[aioredis.Redis]:
    """Open a client that answers bytes; the first command connects, so a Redis that is down does not stop the start.

    A connection that died while idle is replaced at once: the command is sent again one time.
    """
    pool = aioredis.BlockingConnectionPool.from_url(  # more calls at once than connections wait, instead of failing
        url,
        timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
        max_connections=MAX_CONNECTIONS,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
    client = aioredis.Redis.from_pool(pool)
    try:
        yield client
    finally:
        await client.aclose()
