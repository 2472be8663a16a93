"""Watching a client read: what it takes counts as life, and one that takes nothing for long is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from shared.http.tcp_delivery import unacknowledged_bytes

LOOK_EVERY_S = 2.5  # a claim is renewed by what is seen: it lapses at most so much late
PATIENCE_LOOKS = 16


class ReaderWatch:
    """`with ReaderWatch(transport) as watch`: add to `watch.sent` what is sent; `on_progress` is called as it arrives."""

    def __init__(self, transport: asyncio.WriteTransport, on_progress: Callable[[], object] | None = None) -> None:
        self.sent = 0
        self._transport = transport
        self._on_progress = on_progress
        self._arrived = 0
        self._looks_without = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        """Begin to look."""
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)
        try:
            waiting = unacknowledged_bytes(self._transport)
        except OSError:  # closed meanwhile: whoever writes next hears of it
            return
        arrived = self.sent - waiting
        if arrived > self._arrived:
            self._arrived, self._looks_without = arrived, 0
            if self._on_progress is not None:
                self._on_progress()
        elif waiting:
            self._looks_without += 1
            if self._looks_without >= PATIENCE_LOOKS:
                self._transport.abort()
