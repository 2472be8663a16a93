"""Removing what has expired, and what killed processes left behind: a bounded amount of work per pass, whatever is there."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from services.temp_image.adapters.disk.store import HOLDS_SUFFIX, ImageFile, remove_holds
from services.temp_image.adapters.disk.upload_keys import KEY_SUFFIX, remove_key_if_done
from services.temp_image.model import ImageGone
from shared.concurrency.background_tasks import to_its_end
from shared.concurrency.periodic import work_periodically
from shared.uploads import clear_stale_spool

PAUSE_S = 5.0
FILES_PER_PASS = 1000
HALF_WRITTEN_S = 60.0


class Sweeper:
    """Goes round the 256 folders, some at each pass."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._next = 0

    def sweep(self) -> int:
        """Do one pass; return how many images were removed. Blocking."""
        clear_stale_spool(self._folder / "spool")
        seen = removed = 0
        for _ in range(256):
            entries = list((self._folder / f"{self._next:02x}").iterdir())
            removed += sum(map(self._sweep_entry, entries))
            self._next = (self._next + 1) % 256
            seen += len(entries)
            if seen >= FILES_PER_PASS:
                break
        return removed

    def _sweep_entry(self, path: Path) -> bool:
        if path.suffix == HOLDS_SUFFIX:
            if not path.with_suffix("").exists():
                remove_holds(str(path.with_suffix("")))
            return False
        if path.suffix == KEY_SUFFIX:
            remove_key_if_done(path, self._clock())
            return False
        with suppress(ImageGone, BlockingIOError), ImageFile(str(path), wait=False, allow_half=True) as image:
            if image.is_whole:
                return image.remove_if_done(self._clock())
            if time.time() - image.written_at > HALF_WRITTEN_S:
                image.remove()
                return True
        return False


def _take_turn(folder: Path) -> int | None:
    """Take the lock that the one sweeping process keeps for life; the kernel frees it when that process dies."""
    turn = os.open(folder / "sweep.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(turn)
        return None
    return turn


async def keep_sweeping(folder: Path, clock: Callable[[], float]) -> None:
    """Sweep in a thread again and again, of several processes one for all; what goes wrong is logged and tried again."""
    loop, sweeper, turn = asyncio.get_running_loop(), Sweeper(folder, clock), None

    async def sweep() -> None:
        nonlocal turn
        turn = turn if turn is not None else _take_turn(folder)
        if turn is not None:  # to its end: the lock is held for as long as a pass runs
            await to_its_end(loop.run_in_executor(None, sweeper.sweep))

    try:
        await work_periodically("sweep", sweep, PAUSE_S)
    finally:
        if turn is not None:
            os.close(turn)
