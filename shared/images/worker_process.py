"""A worker as its parent sees it: a process at the other end of a socket pair, asked one thing after the other."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, cast

from shared.concurrency.background_tasks import to_its_end

_MAIN = "from shared.images.worker_main import serve; serve()"
_EXIT_S = 1
_LENGTH_BYTES = 4


class Sent(NamedTuple):
    """A request that a worker has, and its pickled answer: EOFError where the worker died of it, ConnectionError before it."""

    worker: WorkerProcess
    answer: asyncio.Future[bytes]

    @property
    def is_answered(self) -> bool:
        """Whether the worker has answered."""
        return self.answer.done() and not self.answer.cancelled() and self.answer.exception() is None


class WorkerProcess(asyncio.Protocol):
    """A worker of its own session, so that Ctrl-C is the parent's affair; it ends by itself where the parent dies.

    `started` comes first, then one `send` after the other's answer, and `end` last.
    """

    def __init__(self, memory_bytes: int, timeout_s: float, answered: Callable[[WorkerProcess], None]) -> None:
        """Start the process; call `answered` with each answer. Raises OSError where the system has no room for one more."""
        self._answered = answered
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer: asyncio.Future[bytes] | None = None
        self._arrived = bytearray()
        self._is_lost = False
        self._transport: asyncio.WriteTransport | None = None
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                self.process = subprocess.Popen(  # noqa: S603 - this program itself
                    [sys.executable, "-P", "-c", _MAIN, *map(str, (theirs.fileno(), memory_bytes, int(timeout_s) + 2))],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                )
        except BaseException:
            self._socket.close()
            raise

    async def started(self) -> None:
        """Wait until it can be asked. Raises EOFError or ConnectionError."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=self._socket)
        await self._started

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self, request: bytes) -> Sent:
        """Send a pickled request."""
        self._answer = answer = asyncio.get_running_loop().create_future()
        if self._is_lost:
            answer.set_exception(ConnectionResetError())
        elif self._transport is not None:
            self._transport.write(request)
        return Sent(self, answer)

    def data_received(self, data: bytes) -> None:
        """Take the sign that it has started, and then each answer behind its length."""
        if self._answer is None:
            if not self._started.done():
                self._started.set_result(None)
            return
        self._arrived += data
        end = _LENGTH_BYTES + int.from_bytes(self._arrived[:_LENGTH_BYTES], "big")
        if len(self._arrived) < end or self._answer.done():
            return
        self._answer.set_result(bytes(self._arrived[_LENGTH_BYTES:]))
        self._arrived.clear()
        self._answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._is_lost = True
        for waits in (self._started, self._answer):
            if waits is not None and not waits.done():
                waits.set_exception(exc if isinstance(exc, ConnectionError) else EOFError())

    async def exit_code(self) -> int | None:
        """Wait a moment for a worker that has closed its connection; return how it ended, negative by a signal's number."""
        with suppress(subprocess.TimeoutExpired):
            return await asyncio.get_running_loop().run_in_executor(None, partial(self.process.wait, _EXIT_S))
        return None

    def kill(self) -> None:
        """Send SIGKILL; whoever waits for an answer is told so."""
        self.process.kill()

    async def end(self) -> None:
        """Kill the process, close the connection, and wait until it has exited."""
        self.kill()
        (self._socket.close if self._transport is None else self._transport.abort)()
        await self.gone()

    async def gone(self) -> None:
        """Wait until a killed process has exited."""
        await to_its_end(asyncio.get_running_loop().run_in_executor(None, self.process.wait))
