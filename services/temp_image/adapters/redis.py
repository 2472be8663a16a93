"""RedisImageStore: the image's bytes under one key that Redis itself expires, the rest in small keys beside it.

    {id}:image   the bytes while the image is public; they live until its hour, or the end of its last hold
    {id}:held    the bytes once they were used up, while somebody holds them
    {id}:claim   the claim that stands; lives 30 s from its last renewal
    {id}:holds   a sorted set: each holder with the end of its hold, and under the empty name the image's hour

All keys of an image share a hash tag, so they are on one node of a cluster. Moments are milliseconds of Redis's own clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis import asyncio as aioredis

from services.temp_image.adapters.redis_upload_keys import RedisUploadKeys, store_errors
from services.temp_image.model import (
    CLAIM_STANDS_S,
    ClaimLapsed,
    ImageContent,
    ImageDescription,
    ImageGone,
    content_type_of,
)
from shared.images.formats.header import Buffer
from shared.images.validation import HEAD_BYTES
from shared.persistence.redis import open_redis, redis_errors
from shared.uploads import MemorySink

CLAIM_STANDS_MS = int(CLAIM_STANDS_S * 1000)
CHECK_IN_THREAD_BYTES = 64 * 1024

_DESCRIBE = f"""
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
local size = redis.call('STRLEN', KEYS[1])
if size == 0 then return false end
return {{size, redis.call('GETRANGE', KEYS[1], 0, {HEAD_BYTES - 1})}}
"""
_CLAIM = f"""
local standing = redis.call('GET', KEYS[2])
if standing and standing ~= ARGV[1] then return false end
-- A Redis that is full lets a script add something only after it has written: so it deletes first.
redis.call('DEL', KEYS[2])
local image = redis.call('GET', KEYS[1])
if image then redis.call('SET', KEYS[2], ARGV[1], 'PX', {CLAIM_STANDS_MS}) end
return image
"""
_RENEW = f"""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[2], {CLAIM_STANDS_MS})
"""
_RELEASE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[2])
"""
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# Holds that have ended are dropped, the image's hour never; what is left decides how long the bytes live.
_HOLDERS = """
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now)) do
  if holder ~= '' then redis.call('ZREM', KEYS[4], holder) end
end
local holders = redis.call('ZCARD', KEYS[4]) - (redis.call('ZSCORE', KEYS[4], '') and 1 or 0)
"""
_EXTEND = """
local last = redis.call('ZRANGE', KEYS[4], -1, -1, 'WITHSCORES')
for _, key in ipairs({KEYS[1], KEYS[3], KEYS[4]}) do redis.call('PEXPIREAT', key, last[2]) end
"""
_CONFIRM = (
    "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end\nredis.call('DEL', KEYS[2])\n"
    + _NOW
    + _HOLDERS
    + f"""
if holders > 0 and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('RENAME', KEYS[1], KEYS[3])
  redis.call('ZREM', KEYS[4], '')
{_EXTEND}
else redis.call('DEL', KEYS[1], KEYS[4]) end
return 1
"""
)
_HOLD = (
    _NOW
    + _HOLDERS
    + f"""
local bytes = KEYS[1]
if redis.call('ZSCORE', KEYS[4], ARGV[1]) then
  if redis.call('EXISTS', KEYS[1]) == 0 then bytes = KEYS[3] end
elseif redis.call('EXISTS', KEYS[2]) == 1 then return false end
local left = redis.call('PTTL', bytes)
if left <= 0 then return false end
if redis.call('EXISTS', KEYS[4]) == 0 then redis.call('ZADD', KEYS[4], now + left, '') end
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
{_EXTEND}
return {{redis.call('STRLEN', bytes), redis.call('GETRANGE', bytes, 0, {HEAD_BYTES - 1})}}
"""
)
_RELEASE_HOLD = (
    _NOW
    + "redis.call('ZREM', KEYS[4], ARGV[1])\n"
    + _HOLDERS
    + f"""
if holders > 0 then
{_EXTEND}
else
  redis.call('DEL', KEYS[3])
  local hour = redis.call('ZSCORE', KEYS[4], '')
  if hour then redis.call('PEXPIREAT', KEYS[1], hour) end
  redis.call('DEL', KEYS[4])
end
"""
)
_READ_HELD = (
    _NOW
    + """
local ends = redis.call('ZSCORE', KEYS[4], ARGV[1])
if not ends or tonumber(ends) <= now then return false end
return redis.call('GET', KEYS[1]) or redis.call('GET', KEYS[3])
"""
)


_SCRIPTS = (_DESCRIBE, _CLAIM, _RENEW, _RELEASE, _CONFIRM, _HOLD, _RELEASE_HOLD, _READ_HELD)


def _keys(image_id: str) -> list[str]:
    return [f"temp-image:{{{image_id}}}:{kind}" for kind in ("image", "claim", "held", "holds")]


class RedisImageStore:
    """The ImageStore that any number of machines share; each call is one round trip."""

    def __init__(self, redis: aioredis.Redis) -> None:
        self.upload_keys = RedisUploadKeys(redis)
        self._redis = redis
        self._scripts = {source: redis.register_script(source) for source in _SCRIPTS}

    def open_sink(self) -> MemorySink:
        """Open a sink in memory: Redis takes a value whole."""
        return MemorySink()

    async def put(self, image_id: str, content: bytes, *, expires_at: float, check: Callable[[Buffer], object]) -> None:
        """Check the image, then set its key, which Redis expires to the millisecond."""
        if len(content) > CHECK_IN_THREAD_BYTES:
            await asyncio.to_thread(check, content)
        else:
            check(content)
        with store_errors():
            await self._redis.set(_keys(image_id)[0], content, pxat=int(expires_at * 1000))

    async def describe(self, image_id: str) -> ImageDescription:
        return _described(await self._run(_DESCRIBE, image_id))

    async def claim(self, image_id: str, claim: str) -> ImageContent:
        """Set the claim and get the bytes; a command that is sent twice finds its own claim."""
        return _content(await self._run(_CLAIM, image_id, claim))

    async def renew(self, image_id: str, claim: str) -> None:
        """Let the claim's key live for 30 s more."""
        await self._settle(_RENEW, image_id, claim)

    async def release(self, image_id: str, claim: str) -> None:
        await self._settle(_RELEASE, image_id, claim)

    async def confirm(self, image_id: str, claim: str) -> None:
        """Delete the image, or rename it while somebody holds it."""
        await self._settle(_CONFIRM, image_id, claim)

    async def _settle(self, script: str, image_id: str, claim: str) -> None:
        _require_claim(await asyncio.shield(self._run(script, image_id, claim)))

    async def hold(self, image_id: str, holder: str, until: float) -> ImageDescription:
        """Note the hold, and let the bytes live as long as the last one."""
        return _described(await self._run(_HOLD, image_id, holder, int(until * 1000)))

    async def release_hold(self, image_id: str, holder: str) -> None:
        """Forget the hold; without any, the image ends at its hour, and what was used up at once."""
        await self._run(_RELEASE_HOLD, image_id, holder)

    async def read_held(self, image_id: str, holder: str) -> ImageContent:
        return _content(await self._run(_READ_HELD, image_id, holder))

    async def check(self) -> None:
        with redis_errors():
            await self._redis.ping()

    async def _run(self, script: str, image_id: str, *arguments: str | int) -> Any:
        with store_errors():
            return await self._scripts[script](keys=_keys(image_id), args=arguments)


def _described(answer: list[Any] | None) -> ImageDescription:
    if answer is None:
        raise ImageGone
    size, head = answer
    return ImageDescription(content_type_of(head), size)


def _content(answer: bytes | None) -> ImageContent:
    if answer is None:
        raise ImageGone
    return ImageContent(content_type_of(answer[:HEAD_BYTES]), answer)


def _require_claim(done: int) -> None:
    if not done:
        raise ClaimLapsed


@asynccontextmanager
async def open_redis_store(url: str) -> AsyncIterator[RedisImageStore]:
    """Open the store in the Redis at `url`, which need not be up yet."""
    async with open_redis(url) as redis:
        yield RedisImageStore(redis)
