"""The process of a worker: bounded in memory and time, with nothing but its essentials in it, one task after the other."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from PIL import Image, PngImagePlugin

from shared.freed_memory import keep_freed_memory
from shared.images import decode_worker  # noqa: F401 - loaded before anybody waits for it

_Result = TypeVar("_Result")

NICE = 10
TRIES = 20

_MAX_PROFILE_BYTES = 4 * 2**20


def serve() -> None:
    """Be a worker: answer requests on the socket inherited as descriptor `argv[1]` until its other end closes.

    `argv[2]` is the memory it may have in bytes, `argv[3]` the seconds after which a task ends the process, also where
    nobody is left to do so.
    """
    descriptor, memory_bytes, longest_s = map(int, sys.argv[1:])
    _bound(memory_bytes)
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rb") as requests:
        connection.sendall(b"!")
        with suppress(EOFError, ConnectionError):
            while True:
                work = pickle.load(requests)  # noqa: S301 - from the process that started this one
                signal.alarm(longest_s)
                answer = pickle.dumps(_perform(work))
                signal.alarm(0)
                connection.sendall(len(answer).to_bytes(4, "big") + answer)


def _bound(memory_bytes: int) -> None:
    """Take no more than this memory, leave no core dumps, and let whoever waits for an answer go first."""
    _give_way()
    keep_freed_memory(kept_bytes=64 * 2**20, mapped_from_bytes=32 * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    PngImagePlugin.MAX_TEXT_CHUNK = _MAX_PROFILE_BYTES  # it bounds profiles too; text is gone before Pillow reads


def _give_way() -> None:
    """Lower this process's priority; where Linux schedules each session as one (sched(7), autogroup), also its session's.

    Without the second, the first counts only among the processes of the session, and a worker is alone in its own.
    """
    os.nice(NICE)
    for _ in range(TRIES):
        try:
            Path("/proc/self/autogroup").write_text(str(NICE))
        except BlockingIOError:  # the system takes one such change in a tenth of a second
            time.sleep(0.1)
        except OSError:
            return
        else:
            return


def _perform(work: Callable[[], _Result]) -> tuple[_Result | None, Exception | None]:
    """Do one task; an error goes without the frames it came through, which would keep the pixels alive."""
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 - it is raised where the task was asked for
        error.add_note(traceback.format_exc())
        error.__cause__ = error.__context__ = None
        return None, error.with_traceback(None)
