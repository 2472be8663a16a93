"""What a process does with memory that it has freed."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Options of mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory(*, kept_bytes: int, mapped_from_bytes: int) -> None:
    """Let the process keep what it has freed for what comes next; pieces from `mapped_from_bytes` (at most 32 MiB) on go back.

    glibc gives megabytes back to the system with each upload, and gets them anew, page by page, with the next: that takes an
    eighth of an upload of 1 MB, and a tenth of its decoding.
    """
    with suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, kept_bytes)
        mallopt(M_MMAP_THRESHOLD, mapped_from_bytes)
