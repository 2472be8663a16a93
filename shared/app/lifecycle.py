"""How a process lives: its requests in flight, whether it is stopping, and what it must be able to reach."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Final

from aiohttp import web

ReadinessCheck = Callable[[], Awaitable[None]]


class Life:
    """How a process lives: the requests in flight, and whether it is stopping."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.stopping = asyncio.Event()
        self.idle = asyncio.Event()

    def stop(self) -> None:
        """Begin to stop: `/ready` turns 503, new requests are refused, streams that never end should end."""
        self.stopping.set()
        if not self.in_flight:
            self.idle.set()

    def enter(self) -> None:
        """Count a request in."""
        self.in_flight += 1

    def leave(self) -> None:
        """Count a request out; `idle` is set once the last one is answered of a process that stops."""
        self.in_flight -= 1
        if not self.in_flight and self.stopping.is_set():
            self.idle.set()


LIFE: Final = web.AppKey("LIFE", Life)
CHECKS: Final = web.AppKey("CHECKS", MutableMapping[str, ReadinessCheck])
