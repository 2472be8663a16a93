"""Erasing a person in all services: written down first, then done step by step until every service has said that it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.auth_verify.adapters.http import HttpPeople
from services.auth_verify.adapters.sql.erasures import SqlErasures
from services.auth_verify.model import Erasure, unknown_person
from shared.errors import KeepsakeError
from shared.log import get_logger

LEASE = timedelta(seconds=60)
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0
# What was under way with a token from before has ended then: a token lives 15 minutes, where its revocation was not seen.
LOOK_AGAIN = timedelta(minutes=30)
AT_ONCE = 10
PARTS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class PersonEraser:
    """Works the outbox off. Every step may be done twice, so that a crash anywhere is made good by beginning again."""

    erasures: SqlErasures
    end_sessions: Callable[[str], Awaitable[None]]
    others: Sequence[HttpPeople]
    now: Callable[[], datetime]

    async def erase(self, user_id: str, username: str, *, within_s: float | None = None) -> Sequence[str]:
        """Write the erasure down, and do what can be done now; return what has to be asked again.

        Raises Conflict (`last_admin`), or NotFound where nobody here knew of the person. Once it is written down it will be
        done, whatever happens to the caller; what is not done within `within_s` is left to `sweep`.
        """
        now = self.now()
        erasure = Erasure(user_id, username, now, now + LEASE, 1)
        is_known = await self.erasures.begin(erasure)
        try:
            async with asyncio.timeout(within_s):
                left, found = await self._pass(erasure)
        except TimeoutError:
            await self.erasures.postpone(user_id, self.now())
            return [other.name for other in self.others]
        if not (is_known or left or found):
            await self.erasures.finish(user_id)
            raise unknown_person()
        return left

    async def sweep(self) -> bool:
        """Do what is due; True where more may be."""
        due = await self.erasures.take_due(self.now(), LEASE, AT_ONCE)
        for erasure in due:
            await self._pass(erasure)
        return len(due) == AT_ONCE

    async def _pass(self, erasure: Erasure) -> tuple[Sequence[str], bool]:
        """Return what has to be asked again, and whether anything was found: who finds nothing is done at the first call."""
        steps = {"sessions": self._end_sessions, **{other.name: other.erase for other in self.others}}
        calls = {name: await self._calls(name, step, erasure) for name, step in steps.items()}
        left, found = [name for name, count in calls.items() if not count], max(calls.values()) > 1
        if left:
            pause_s = min(LONGEST_PAUSE_S, SHORTEST_PAUSE_S * 2.0 ** min(erasure.tries, 10))
            await self.erasures.postpone(erasure.user_id, self.now() + timedelta(seconds=pause_s))
            return left, found
        await self.erasures.forget_person(erasure.user_id)
        last_look_at = erasure.requested_at + LOOK_AGAIN
        if self.now() < last_look_at:
            await self.erasures.postpone(erasure.user_id, last_look_at)
        else:
            await self.erasures.finish(erasure.user_id)
        return [], found

    async def _end_sessions(self, erasure: Erasure) -> bool:
        await self.end_sessions(erasure.user_id)
        return True

    @staticmethod
    async def _calls(name: str, step: Callable[[Erasure], Awaitable[bool]], erasure: Erasure) -> int:
        """Return after how many calls the step was done, 0 where it is not."""
        try:
            for calls in range(1, PARTS_AT_ONCE + 1):
                if await step(erasure):
                    return calls
        except KeepsakeError as error:
            get_logger().warning("erasure_deferred", step=name, code=error.code)
        return 0
