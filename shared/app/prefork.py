"""Several processes of one service: a parent that forks them, starts again what died, and passes the stop on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

SHORTEST_LIFE_S = 1.0


def run_workers(work: Callable[[], None], count: int) -> None:
    """Keep `count` forked processes running `work` until SIGTERM or SIGINT; return when all have ended."""
    children: set[int] = set()
    stopping = False
    tie = os.pipe()

    def stop(_signum: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        for pid in children:
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for _ in range(count):
        children.add(_fork(work, tie))
    while children:
        started = time.monotonic()
        pid, status = os.wait()
        children.discard(pid)
        if stopping:
            continue
        if os.waitstatus_to_exitcode(status) == 2:
            stopping = True
            raise SystemExit(2)
        # A worker that dies at once would be forked without pause; wait a little between such tries.
        time.sleep(max(0.0, SHORTEST_LIFE_S - (time.monotonic() - started)))
        children.add(_fork(work, tie))


def _fork(work: Callable[[], None], tie: tuple[int, int]) -> int:
    """Fork a child; `tie` is a pipe whose writing end the parent alone has: it ends with the parent, however that ends."""
    pid = os.fork()
    if pid:
        return pid
    reading, writing = tie
    os.close(writing)
    threading.Thread(target=_stop_at_the_end_of, args=(reading,), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = 0
    try:
        work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _stop_at_the_end_of(pipe: int) -> None:
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
