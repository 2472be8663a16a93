"""Waiting for what cannot be called back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeVar

ResultT = TypeVar("ResultT")


async def to_its_end(future: asyncio.Future[ResultT]) -> ResultT:
    """Wait for a thread or a task that goes on by itself; who is cancelled meanwhile is so only once that has ended."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # looked at: who was cancelled has no use for it
        raise
