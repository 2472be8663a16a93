"""Removing objects that belong to no order: of deleted ones, and of uploads that died."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from services.planter_orders.model.layout import folders_of
from services.planter_orders.ports import Leftover, Leftovers
from services.planter_orders.service.working import keep_working
from shared.errors import KeepsakeError
from shared.log import get_logger
from shared.objects import BlobStore

INTERVAL_S = 5.0
AT_ONCE = 50
LEASE = timedelta(seconds=30)
LOOK_AGAIN = timedelta(seconds=60)
STALE_S = 60.0


class Removing:
    """Removes leftovers when they are due, and clears the spool."""

    def __init__(self, *, leftovers: Leftovers, blobs: BlobStore, now: Callable[[], datetime]) -> None:
        self._leftovers = leftovers
        self._blobs = blobs
        self._now = now
        self._wake = asyncio.Event()
        self._undoing: set[asyncio.Task[None]] = set()

    def undo(self, leftover: Leftover) -> None:
        """Begin to remove what an upload has written so far, unless it became an order; what fails is done by the sweep.

        Not waited for: where the store or the database hangs, the client has its answer in time all the same.
        """
        task = asyncio.create_task(self._undo(leftover))
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def _undo(self, leftover: Leftover) -> None:
        try:
            if await self._leftovers.doom(leftover.order_id, self._now() + LEASE):
                await self._remove(leftover)
        except KeepsakeError as error:
            get_logger().warning("leftovers wait", code=error.code)

    async def remove(self, leftover: Leftover) -> None:
        """Remove what a deleted order had; what fails is done by the sweep."""
        try:
            await self._remove(leftover)
        except KeepsakeError as error:
            get_logger().warning("leftovers wait", code=error.code)

    async def run(self) -> None:
        """Sweep until cancelled; what is being undone then is left to the next start."""
        try:
            await keep_working("leftovers", self.sweep, self._wake, INTERVAL_S)
        finally:
            for task in self._undoing:
                task.cancel()
            await asyncio.gather(*self._undoing, return_exceptions=True)

    async def sweep(self) -> None:
        """Remove what is due."""
        await self._blobs.clear_stale(STALE_S)
        for leftover in await self._leftovers.take_due(self._now(), self._now() + LEASE, AT_ONCE):
            await self.remove(leftover)

    async def _remove(self, leftover: Leftover) -> None:
        for prefix in folders_of(leftover.user_id, leftover.order_id):
            await self._blobs.delete_prefix(prefix)
        await self._leftovers.removed(leftover.order_id, self._now() + LOOK_AGAIN)
