"""Work that many ask for at the same time and one run does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

ResultT = TypeVar("ResultT")


class SingleFlight(Generic[ResultT]):
    """Runs by key; who asks for a key that runs shares its result or its error. A run goes on when its callers leave."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[ResultT]] = {}

    async def run(self, key: str, work: Callable[[], Coroutine[Any, Any, ResultT]]) -> ResultT:
        """Return what `work` does for `key`, or what is being done for it already."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def _forget(self, key: str, task: asyncio.Task[ResultT]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever still waits gets it; nobody is no fault

    async def close(self) -> None:
        while self._running:
            await asyncio.wait(list(self._running.values()))
            await asyncio.sleep(0)
