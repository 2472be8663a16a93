"""Removing objects that belong to no order: of deleted ones, and of uploads that died."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from services.planter_orders.adapters.sql import Orphan, Orphans
from services.planter_orders.model.object_keys import folders_of, photo_key, thumbnail_key
from shared.concurrency.periodic import work_periodically
from shared.errors import KeepsakeError
from shared.log import get_logger
from shared.objects import ObjectStore

INTERVAL_S = 5.0
AT_ONCE = 50
LEASE = timedelta(seconds=30)
LOOK_AGAIN = timedelta(seconds=60)
STALE_S = 60.0


class OrphanCleanup:
    """Removes orphaned objects when they are due, and clears the spool."""

    def __init__(self, *, orphans: Orphans, objects: ObjectStore, now: Callable[[], datetime]) -> None:
        self._orphans = orphans
        self._objects = objects
        self._now = now
        self._wake = asyncio.Event()
        self._undoing: set[asyncio.Task[None]] = set()

    def undo(self, orphan: Orphan) -> None:
        """Begin to remove what an upload has written so far, unless it has a row by now; what fails is done by the sweep.

        Not waited for: where the store or the database hangs, the client has its answer in time all the same.
        """
        task = asyncio.create_task(self._undo(orphan))
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def _undo(self, orphan: Orphan) -> None:
        try:
            if await self._orphans.doom(orphan, self._now() + LEASE):
                await self._remove(orphan)
        except KeepsakeError as error:
            get_logger().warning("orphan_cleanup_deferred", code=error.code)

    async def remove(self, orphan: Orphan) -> None:
        """Remove what a deleted order or a replaced photo had; what fails is done by the sweep."""
        try:
            await self._remove(orphan)
        except KeepsakeError as error:
            get_logger().warning("orphan_cleanup_deferred", code=error.code)

    async def run(self) -> None:
        """Sweep until cancelled; what is being undone then is left to the next start."""
        try:
            await work_periodically("orphan_cleanup", self.sweep, INTERVAL_S, wake=self._wake)
        finally:
            for task in self._undoing:
                task.cancel()
            await asyncio.gather(*self._undoing, return_exceptions=True)

    async def sweep(self) -> None:
        """Remove what is due."""
        await self._objects.clear_stale(STALE_S)
        for orphan in await self._orphans.take_due(self._now(), self._now() + LEASE, AT_ONCE):
            await self.remove(orphan)

    async def _remove(self, orphan: Orphan) -> None:
        if orphan.filename:
            for key_of in (photo_key, thumbnail_key):
                await self._objects.delete(key_of(orphan.user_id, orphan.order_id, orphan.filename))
        else:
            for prefix in folders_of(orphan.user_id, orphan.order_id):
                await self._objects.delete_prefix(prefix)
        await self._orphans.removed(orphan, self._now() + LOOK_AGAIN)
