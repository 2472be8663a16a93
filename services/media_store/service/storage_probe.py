"""Whether the object store works: asked, and tried with an object of its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass

from shared.errors import KeepsakeError
from shared.objects import ObjectStore

PREFIX = "probes/"
CONTENT_TYPE = "application/octet-stream"
PROBE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried, whether it succeeded, and how long it took."""

    name: str
    success: bool
    duration_ms: float


class StorageProbe:
    """Tries the object store."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def ask(self) -> Step:
        return await _timed("ask", self._objects.check())

    async def run(self) -> list[Step]:
        """Write, read back, compare and delete an object; after a step that fails, only the deletion is tried."""
        key, data = f"{PREFIX}{secrets.token_hex(16)}", secrets.token_bytes(PROBE_BYTES)
        found = b""

        async def read() -> None:
            nonlocal found
            async with self._objects.open(key) as reader:
                found = await reader.read()

        steps: list[Step] = []
        try:
            steps.append(await _timed("write", self._objects.put_bytes(key, data, CONTENT_TYPE)))
            if steps[-1].success:
                steps.append(await _timed("read", read()))
            if steps[-1].success:
                steps.append(Step("compare", found == data, 0.0))
        finally:
            steps.append(await _timed("delete", self._objects.delete(key)))
        return steps


async def _timed(name: str, work: Awaitable[object]) -> Step:
    started = time.perf_counter()
    success = False
    with suppress(KeepsakeError):
        await work
        success = True
    return Step(name, success, round((time.perf_counter() - started) * 1000, 3))
