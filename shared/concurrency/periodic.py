"""Work that goes on as long as the process: done when there is something, looked for now and then."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from shared.errors import KeepsakeError
from shared.log import get_logger

GRACE_S = 1.0
Work = Callable[[], Coroutine[Any, Any, None]]


@asynccontextmanager
async def working(*works: Work) -> AsyncIterator[None]:
    """Do all of it until the block ends."""
    tasks = [asyncio.create_task(work()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def renewing(every_s: float, renew: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Call `renew` every `every_s` seconds until the block ends; one that fails is logged, and made up for by the next."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(every_s)
            await _step("renewal", renew)

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping], timeout=GRACE_S)


async def work_periodically(
    name: str,
    work: Callable[[], Awaitable[object]],
    interval_s: float,
    *,
    wake: asyncio.Event | None = None,
    grace_s: float = GRACE_S,
) -> None:
    """Do `work` at once, whenever `wake` is set, and about every `interval_s` seconds, until cancelled.

    The interval varies by a fifth, so that replicas do not march in step. `work` may return True where more is due at
    once. No failure ends it: each is logged as `background_work_deferred` or `background_work_failed` with `name`.
    What is being done when it is cancelled has `grace_s` seconds to finish.
    """
    wake = wake or asyncio.Event()
    while True:
        wake.clear()
        step = asyncio.create_task(_step(name, work))
        try:
            more = await asyncio.shield(step)
        except asyncio.CancelledError:
            await asyncio.wait([step], timeout=grace_s)
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
            raise
        if not more:
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_s * random.uniform(0.8, 1.2)):  # noqa: S311 - no secret
                    await wake.wait()


async def _step(name: str, work: Callable[[], Awaitable[object]]) -> bool:
    try:
        return await work() is True
    except KeepsakeError as error:
        get_logger().warning("background_work_deferred", work=name, code=error.code)
    except Exception:  # noqa: BLE001 - what nobody expected must not end it either
        get_logger().exception("background_work_failed", work=name)
    return False
