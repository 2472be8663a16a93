"""Failed logins in the process's memory."""

from __future__ import annotations

import time
from collections import OrderedDict

from services.auth_verify.model import Failures

KEPT_S = 900
MAX_ENTRIES = 20_000

Key = tuple[str, str]


class MemoryFailedLogins:
    """Counts in one bounded table; the entries that did not fail for the longest time go first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Key, tuple[int, float]] = OrderedDict()

    async def count(self, account: str, address: str) -> Failures:
        """Look both counts up."""
        return Failures(here=self._count((account, address)), anywhere=self._count((account, "")))

    async def add(self, account: str, address: str) -> None:
        """Add one to both counts, which begins their quarter of an hour anew."""
        for key in ((account, address), (account, "")):
            self._entries[key] = (self._count(key) + 1, time.monotonic() + KEPT_S)
            self._entries.move_to_end(key)
        while len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)

    async def forget(self, account: str, address: str) -> None:
        """Remove the address's count; what others tried goes on counting."""
        self._entries.pop((account, address), None)

    def _count(self, key: Key) -> int:
        count, until = self._entries.get(key, (0, 0.0))
        return count if time.monotonic() < until else 0
