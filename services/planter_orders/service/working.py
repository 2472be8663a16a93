"""Work that goes on as long as the process: done when there is something, looked for every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from shared.errors import KeepsakeError
from shared.log import get_logger

GRACE_S = 1.0


async def keep_working(
    name: str, work: Callable[[], Awaitable[None]], wake: asyncio.Event, interval_s: float, grace_s: float = GRACE_S
) -> None:
    """Do `work` at once, whenever `wake` is set, and every `interval_s` seconds, until cancelled; no failure ends it.

    What is being done when it is cancelled has a second to finish: most of it is one look at the database.
    """
    while True:
        wake.clear()
        step = asyncio.create_task(_step(name, work))
        try:
            await asyncio.shield(step)
        except asyncio.CancelledError:
            await asyncio.wait([step], timeout=grace_s)
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
            raise
        with suppress(TimeoutError):
            async with asyncio.timeout(interval_s):
                await wake.wait()


async def _step(name: str, work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except KeepsakeError as error:
        get_logger().warning("background_work_deferred", work=name, code=error.code)
    except Exception:  # noqa: BLE001 - what nobody expected must not end it either
        get_logger().exception("background_work_failed", work=name)
