"""Erasing a person in all services: written down first, then done step by step until every service has said that it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.auth_verify.adapters.http import HttpPeople
from services.auth_verify.adapters.sql.erasures import SqlErasures
from services.auth_verify.model import Erasure
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

        Raises Conflict (`last_admin`). Once it is written down it will be done, whatever happens to the caller; what is
        not done within `within_s` is left to `sweep`.
        """
        now = self.now()
        erasure = Erasure(user_id, username, now, now + LEASE, 1)
        await self.erasures.begin(erasure)
        try:
            async with asyncio.timeout(within_s):
                return await self._pass(erasure)
        except TimeoutError:
            await self.erasures.postpone(user_id, self.now())
            return [other.name for other in self.others]

    async def sweep(self) -> bool:
        """Do what is due; True where more may be."""
        due = await self.erasures.take_due(self.now(), LEASE, AT_ONCE)
        for erasure in due:
            await self._pass(erasure)
        return len(due) == AT_ONCE

    async def _pass(self, erasure: Erasure) -> Sequence[str]:
        steps = {"sessions": self._end_sessions, **{other.name: other.erase for other in self.others}}
        left = [name for name, step in steps.items() if not await self._done(name, step, erasure)]
        if left:
            pause_s = min(LONGEST_PAUSE_S, SHORTEST_PAUSE_S * 2.0 ** min(erasure.tries, 10))
            await self.erasures.postpone(erasure.user_id, self.now() + timedelta(seconds=pause_s))
            return left
        await self.erasures.forget_person(erasure.user_id)
        last_look_at = erasure.requested_at + LOOK_AGAIN
        if self.now() < last_look_at:
            await self.erasures.postpone(erasure.user_id, last_look_at)
        else:
            await self.erasures.finish(erasure.user_id)
        return []

    async def _end_sessions(self, erasure: Erasure) -> bool:
        await self.end_sessions(erasure.user_id)
        return True

    @staticmethod
    async def _done(name: str, step: Callable[[Erasure], Awaitable[bool]], erasure: Erasure) -> bool:
        try:
            for _ in range(PARTS_AT_ONCE):
                if await step(erasure):
                    return True
        except KeepsakeError as error:
            get_logger().warning("erasure_deferred", step=name, code=error.code)
        return False
