"""Decode workers outlive the service that started them and serve the next test's: to start one costs more than most tests do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from shared.images import decode_pool
from shared.images.worker_process import Sent, WorkerProcess

KEPT = 2
Answered = Callable[[WorkerProcess], None]


class KeptWorker(WorkerProcess):
    """A worker that its pool's end does not kill, as long as it is not at work."""

    def __init__(self, memory_bytes: int, timeout_s: float, answered: Answered) -> None:
        super().__init__(memory_bytes, timeout_s, answered)
        self.limits = (memory_bytes, timeout_s)
        self._kept_socket = self._socket
        self._was_started = self._is_starting = False

    @property
    def _is_busy(self) -> bool:
        return self._is_starting or (self._answer is not None and not Sent(self, self._answer).is_answered)

    def take(self, answered: Answered) -> KeptWorker:
        self._answered, self._answer, self._is_lost, self._transport = answered, None, False, None
        return self

    async def started(self) -> None:
        self._is_starting = True
        self._socket = self._kept_socket.dup()  # each test has an event loop of its own, which closes it
        self._started = asyncio.get_running_loop().create_future()
        if self._was_started:
            self._started.set_result(None)
        await super().started()
        self._was_started, self._is_starting = True, False

    def kill(self) -> None:
        if self._is_busy:
            super().kill()

    async def end(self) -> None:
        if self._transport is not None and not self._is_busy and self.process.poll() is None and len(_kept) < KEPT:
            self._transport.abort()
            await asyncio.sleep(0)  # until the loop has said so
            _kept.append(self)
        else:
            await self.end_for_good()

    async def end_for_good(self) -> None:
        self._is_starting = True
        self._kept_socket.close()
        await super().end()

    async def gone(self) -> None:
        if self not in _kept:
            await super().gone()


_kept: list[KeptWorker] = []


def _take(memory_bytes: int, timeout_s: float, answered: Answered) -> KeptWorker:
    for worker in _kept:
        if worker.limits == (memory_bytes, timeout_s):
            _kept.remove(worker)
            return worker.take(answered)
    return KeptWorker(memory_bytes, timeout_s, answered)


@pytest.fixture
def kept_decoders(monkeypatch: pytest.MonkeyPatch, _kept_decoders_end: None) -> None:
    """What opens image workers in this test may get one that an earlier test left."""
    monkeypatch.setattr(decode_pool, "WorkerProcess", _take)


@pytest.fixture(scope="session")
def _kept_decoders_end() -> Iterator[None]:
    yield
    while _kept:
        asyncio.run(_kept.pop().end_for_good())
