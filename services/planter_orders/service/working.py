"""Work that goes on as long as the process: done when there is something, looked for every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from shared.errors import KeepsakeError
from shared.log import get_logger


async def keep_working(name: str, work: Callable[[], Awaitable[None]], wake: asyncio.Event, interval_s: float) -> None:
    """Do `work` at once, whenever `wake` is set, and every `interval_s` seconds, until cancelled; no failure ends it."""
    task = asyncio.current_task()
    # A driver that is cancelled may raise an error of its own instead; the cancellation counts all the same.
    while task is None or not task.cancelling():
        wake.clear()
        try:
            await work()
        except KeepsakeError as error:
            get_logger().warning("work waits", work=name, code=error.code)
        except Exception:  # noqa: BLE001 - what nobody expected must not end it either
            get_logger().exception("work failed", work=name)
        with suppress(TimeoutError):
            async with asyncio.timeout(interval_s):
                await wake.wait()
