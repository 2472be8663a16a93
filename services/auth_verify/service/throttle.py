"""Slowing down whoever guesses passwords, without ever keeping an account's owner out."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from services.auth_verify.model import MAX_DELAY_S
from services.auth_verify.ports import FailedLogins
from shared.errors import TooManyRequests
from shared.names import name_key

MAX_WAITING_PER_PAIR = 8
MAX_WAITING = 1000


def _too_many(delay_s: float) -> TooManyRequests:
    wait_s = str(math.ceil(delay_s))
    return TooManyRequests(
        "Too many failed attempts. Please wait a few seconds and try again.",
        "too_many_failures",
        {
            "Retry-After": wait_s,
            "RateLimit": f'"failed-logins";r=0;t={wait_s}',
            "RateLimit-Policy": f'"failed-logins";q={MAX_WAITING_PER_PAIR};w={math.ceil(MAX_DELAY_S)}',
        },
    )


class LoginThrottle:
    """Delays a login attempt: longer the more attempts failed for this account from this address.

    Failures from anywhere add a little. The delay comes before the password is looked at, or a guesser would hang up and
    know. It is never longer than 5 s, so that the owner gets in. Only so many wait at once; further attempts by whoever
    failed before are refused.
    """

    def __init__(self, failures: FailedLogins, *, sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep) -> None:
        self._failures = failures
        self._sleep = sleep
        self._waiting: Counter[tuple[str, str]] = Counter()

    async def wait_turn(self, login: str, address: str) -> None:
        """Return when the attempt may go on; raises TooManyRequests where too many wait already."""
        pair = (name_key(login), address)
        failures = await self._failures.count(*pair)
        is_full = self._waiting.total() >= MAX_WAITING
        if failures.delay_here_s and (is_full or self._waiting[pair] >= MAX_WAITING_PER_PAIR):
            raise _too_many(failures.delay_here_s)
        delay_s = max(failures.delay_here_s, failures.delay_anywhere_s)
        if not delay_s or is_full:  # a crowd elsewhere does not keep out who has not failed here
            return
        self._waiting[pair] += 1
        try:
            await self._sleep(delay_s)
        finally:
            self._waiting[pair] -= 1
            if not self._waiting[pair]:
                del self._waiting[pair]

    async def note(self, login: str, address: str, *, success: bool) -> None:
        """Count a failure, or forget this address's after a success."""
        count = self._failures.forget if success else self._failures.add
        await count(name_key(login), address)
