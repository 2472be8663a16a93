"""Files of images that are gone, emptied and kept for a minute: under load the next uploads take them, and make none.

Making a file is what an upload's time on disk goes into: ext4 gives an inode out again only minutes after it was deleted,
and until then looks past each of them. Where thousands come and go, 50 KB in a new file take 300-600 µs, and in one that
is there already 30-60 µs (decision 0009).
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from shared.uploads.sinks import new_spool_path

MOST = 1024
SHARE_OF_DESCRIPTORS = 8
KEPT_S = 60.0
BUSY_PER_S = 400  # below, new files cost little, and a folder without leftovers is worth more


class Spare(NamedTuple):
    """An empty file that nobody else has open or can reach: its path, its locked descriptor, and since when."""

    path: str
    descriptor: int
    since: float

    def drop(self) -> None:
        """Close and unlink it."""
        os.close(self.descriptor)
        with suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 - a Path costs as much as the call


class SpareFiles:
    """The spare files of one process, in its spool folder; safe to use from several threads.

    A killed process leaves them as empty spool files, which the next sweep of the spool removes.
    """

    def __init__(self, spool: Path) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = MOST if soft == resource.RLIM_INFINITY else min(MOST, soft // SHARE_OF_DESCRIPTORS)
        self._spool = spool
        self._spares: deque[Spare] = deque()
        self._second = self._gone_in_second = 0
        self._busy_until = 0.0
        # What the kernel sends when somebody opens a file in the moment between `_is_sole`'s two calls; it would end us.
        with suppress(ValueError):  # not the main thread: a test
            signal.signal(signal.SIGIO, signal.SIG_IGN)

    def add(self, path: str, descriptor: int) -> bool:
        """Make a spare of an image's file, open and locked; False where it must be unlinked and closed instead.

        First its name goes, so that nobody can open it any more; then the kernel is asked whether somebody has: a slow
        transfer under a claim that lapsed reads a map of the file, and must never see another image in it. Who looked
        the name up before and opens the file only now finds that it has lost it (`ImageFile`).
        """
        now = time.monotonic()
        if not self._is_busy(now) or len(self._spares) >= self._most:
            return False
        spool_path = new_spool_path(self._spool)
        try:
            os.rename(path, spool_path)  # noqa: PTH104 - as above
        except OSError:  # it has gone, or a full disk has no room for one more name
            return False
        if not _is_sole(descriptor):
            spool_path.unlink()
            return False
        # Not to 0 bytes: then ext4 would write out at once what comes next (its `auto_da_alloc`).
        os.ftruncate(descriptor, 1)
        self._spares.append(Spare(str(spool_path), descriptor, now))
        return True

    def _is_busy(self, now: float) -> bool:
        """Count one image gone; tell whether there was a second with more than `BUSY_PER_S` of them lately."""
        if int(now) != self._second:
            self._second, self._gone_in_second = int(now), 0
        self._gone_in_second += 1
        if self._gone_in_second > BUSY_PER_S:
            self._busy_until = now + KEPT_S
        return now < self._busy_until

    def take(self) -> Spare | None:
        """Take the newest, to be written from its beginning."""
        try:
            return self._spares.pop()
        except IndexError:
            return None

    def trim(self, kept_s: float = KEPT_S) -> None:
        """Drop those that waited for longer than `kept_s` seconds."""
        oldest = time.monotonic() - kept_s
        with suppress(IndexError):
            while self._spares[0].since <= oldest:
                self._spares.popleft().drop()


def _is_sole(descriptor: int) -> bool:
    """Tell whether no other descriptor or map of this file exists, in any process: only then does Linux grant a lease."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except (OSError, AttributeError):  # a file system, or a system, without leases
        return False
    return True
