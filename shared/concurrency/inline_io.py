"""Blocking file work where it costs least: in place while the disk is prompt, in threads while it is not.

What goes into the system's page cache takes some 50 µs, and a trip to a thread as much again (decision 0009). A disk
that stalls, or bytes made to be slow to read, hold the loop up once; then it is left alone for a hundred times as long.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from typing import TypeVar

PROMPT_S = 0.01
REST_PER_STALL = 100
LONGEST_REST_S = 5.0
THIS_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)  # which macOS has not

ResultT = TypeVar("ResultT")


class _Disk:
    """How the disk was lately; all that a process writes shares it."""

    threads_until = 0.0


def _held_up_since(before: resource.struct_rusage) -> bool:
    """Tell whether this thread has waited for something, or worked for long (getrusage(2)).

    On busy cores it may just not have had its turn: then a trip to a thread would only be one more turn to wait for.
    """
    now = resource.getrusage(THIS_THREAD)
    worked_s = now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime
    return now.ru_nvcsw > before.ru_nvcsw or worked_s > PROMPT_S


async def run_inline(work: Callable[[], ResultT], patient: Callable[[], ResultT] | None = None) -> ResultT:
    """Run `work`, here where that is quick; what it raises comes through.

    Where it raises BlockingIOError, or the disk was slow in the last seconds, `patient` (or else `work`) runs in a thread,
    to its end also where the caller is cancelled meanwhile.
    """
    started = time.monotonic()
    if started >= _Disk.threads_until:
        before = resource.getrusage(THIS_THREAD)
        try:
            return work()
        except BlockingIOError:
            pass
        finally:
            took_s = time.monotonic() - started
            if took_s > PROMPT_S and _held_up_since(before):
                _Disk.threads_until = started + took_s + min(took_s * REST_PER_STALL, LONGEST_REST_S)
    return await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, patient or work))
