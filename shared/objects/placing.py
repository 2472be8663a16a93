"""Giving a file its key from a worker process, which loads nothing of the event loop."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from shared.objects.disk_tree import DiskTree
from shared.objects.object_keys import ObjectNotFound
from shared.objects.protocol import ObjectExists

SLOW_PLACING_S = 0.02
REST_AFTER_SLOW_S = 1.0


class _Placings:
    """How the last ones went; all that a worker places shares it."""

    patient_until = 0.0


def _starved_s() -> float:
    """Return for how long this process has waited for a processor, which is no fault of the disk's; 0 where nobody tells."""
    with suppress(OSError, IndexError, ValueError):
        return int(os.pread(_schedstat(), 100, 0).split()[1]) / 1e9
    return 0.0


@cache
def _schedstat() -> int:
    """Open it for good; a process that was forked from this one would read this one's."""
    return os.open("/proc/self/schedstat", os.O_RDONLY)


class Placing(NamedTuple):
    """How a worker gives a finished file its key, by the extension that the image turns out to have."""

    tree: DiskTree
    keys: Mapping[str, str]

    def place(self, source: Path, extension: str) -> str | None:
        """Place `source` beside its old name and return its key; None where that is better done by the caller.

        So it is where the key is taken, and while the disk is slow: then a worker would wait for one file after the other.
        """
        started, starved_s = time.monotonic(), _starved_s()
        if started < _Placings.patient_until:
            return None
        key = self.keys[extension]
        try:
            self.tree.place(source, key, if_absent=True)
        except ObjectExists:
            return None
        if (ended := time.monotonic()) - started - (_starved_s() - starved_s) > SLOW_PLACING_S:
            _Placings.patient_until = ended + REST_AFTER_SLOW_S
        return key

    def undo(self, source: Path) -> None:
        """Take away what a worker that did not answer may have placed of `source`; another's object is another file."""
        for key in self.keys.values():
            with suppress(FileNotFoundError, NotADirectoryError, ObjectNotFound):
                if source.samefile(self.tree.path(key)):
                    self.tree.remove(key)
