"""Temporary images as files in one folder, which all processes of a machine share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from services.temp_image.adapters.disk.folders import make_folders
from services.temp_image.adapters.disk.store import DiskImageStore
from services.temp_image.adapters.disk.sweep import keep_sweeping
from services.temp_image.adapters.disk.upload_keys import DiskUploadKeys
from shared.concurrency.periodic import working

__all__ = ["DiskImageStore", "DiskUploadKeys", "open_disk_store"]


@asynccontextmanager
async def open_disk_store(folder: Path, clock: Callable[[], float] = time.time) -> AsyncIterator[DiskImageStore]:
    """Open the store in `folder`, and sweep it in the background for as long as it is open."""
    await asyncio.to_thread(make_folders, folder)
    store = DiskImageStore(folder, clock)
    async with working(partial(keep_sweeping, folder, clock)):
        yield store
