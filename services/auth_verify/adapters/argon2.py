"""Passwords hashed with argon2id, in two threads and a bounded queue."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from shared.errors import Unavailable

THREADS = 2
MAX_WAITING = 128  # at 38 ms each in two threads the last one waits two and a half seconds

T = TypeVar("T")


class Argon2Passwords:
    """argon2id at 19 MiB, t=2, p=1 (RFC 9106; OWASP's smallest): 38 ms, so never on the event loop."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._nobodys_hash = self._hasher.hash(secrets.token_urlsafe())
        self._waiting = 0

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Compare with the hash; where there is none, with one that no password has, so that it takes as long."""
        return await self._run(lambda: self._matches(password, password_hash or self._nobodys_hash))

    def _matches(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (Argon2Error, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many people sign in at this moment. Please try again shortly.", code="busy")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        future.add_done_callback(self._done)
        return await future

    def _done(self, _future: asyncio.Future[T]) -> None:
        self._waiting -= 1


@asynccontextmanager
async def open_passwords() -> AsyncIterator[Argon2Passwords]:
    """Open the threads, and end them with what they are doing."""
    executor = ThreadPoolExecutor(THREADS, "argon2")
    try:
        yield Argon2Passwords(executor)
    finally:
        executor.shutdown(cancel_futures=True)
