"""Signals where there is nobody to tell but this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class NoSignals:
    """`Signals` of one process; further ones on the same SQLite file find changes by looking."""

    async def send(self, order_id: str) -> None:
        """Tell nobody."""

    async def received(self) -> AsyncIterator[str]:
        """Wait for ever."""
        await asyncio.Event().wait()
        yield ""
