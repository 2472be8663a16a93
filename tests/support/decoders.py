"""Decode workers outlive the service that started them and serve the next test's: to start one costs more than most tests do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from shared.images import decode_pool
from shared.images.decode_pool import WorkerProcess

KEPT = 2


class KeptWorker(WorkerProcess):
    """A worker that its pool's end does not kill, as long as it is not at work."""

    def __init__(self, memory_bytes: int, timeout_s: float) -> None:
        super().__init__(memory_bytes, timeout_s)
        self.limits = (memory_bytes, timeout_s)
        self._kept_socket = self._socket
        self._was_started = self._is_busy = False

    async def started(self) -> None:
        self._is_busy = True
        self._socket = self._kept_socket.dup()  # each test has an event loop of its own, which closes it
        await (self._open() if self._was_started else super().started())
        self._was_started, self._is_busy = True, False

    async def ask(self, request: bytes) -> bytes:
        self._is_busy = True
        answer = await super().ask(request)
        self._is_busy = False
        return answer

    def kill(self) -> None:
        if self._is_busy:
            super().kill()

    async def end(self) -> None:
        if not self._is_busy and self.is_alive and len(_kept) < KEPT:
            self._close()
            _kept.append(self)
        else:
            await self.end_for_good()

    async def end_for_good(self) -> None:
        self._is_busy = True
        self._kept_socket.close()
        await super().end()

    async def gone(self) -> None:
        if self not in _kept:
            await super().gone()


_kept: list[KeptWorker] = []


def _take(memory_bytes: int, timeout_s: float) -> KeptWorker:
    for worker in _kept:
        if worker.limits == (memory_bytes, timeout_s):
            _kept.remove(worker)
            return worker
    return KeptWorker(memory_bytes, timeout_s)


@pytest.fixture
def kept_decoders(monkeypatch: pytest.MonkeyPatch, _kept_decoders_end: None) -> None:
    """What opens image workers in this test may get one that an earlier test left."""
    monkeypatch.setattr(decode_pool, "WorkerProcess", _take)


@pytest.fixture(scope="session")
def _kept_decoders_end() -> Iterator[None]:
    yield
    while _kept:
        asyncio.run(_kept.pop().end_for_good())
