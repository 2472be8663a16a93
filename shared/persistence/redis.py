"""One Redis client per process, with bounded waits; aioredis lives on as `redis.asyncio` (docs/decisions/0001)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from shared.errors import DependencyDown
from shared.tracing import span

CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 2.0
MAX_CONNECTIONS = 128

ResultT = TypeVar("ResultT")


class _OnceMore(Retry):
    """One more try where the connection died, also where uvloop says so with a RuntimeError: it raises that on a write."""

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 1, supported_errors=(RedisConnectionError,))

    async def call_with_retry(self, do: Callable[[], Awaitable[ResultT]], *arguments: Any, **options: Any) -> ResultT:
        async def translated() -> ResultT:
            try:
                return await do()
            except RuntimeError as error:
                raise RedisConnectionError("the connection is closed") from error

        return await super().call_with_retry(translated, *arguments, **options)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Translate whatever keeps Redis from answering into DependencyDown."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise DependencyDown("redis") from error


class _TracedRedis(aioredis.Redis):
    """A client whose commands are spans of the request at work."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command as the client does; its name alone is told."""
        with span("redis", str(args[0])):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


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
        retry=_OnceMore(),
    )
    client = _TracedRedis.from_pool(pool)
    try:
        yield client
    finally:
        await client.aclose()
