"""Failed logins in the process's memory."""

from __future__ import annotations

from cachetools import TTLCache

from services.auth_verify.model import Failures

KEPT_S = 900
MAX_ENTRIES = 20_000

Key = tuple[str, str]


class MemoryFailedLogins:
    """Counts in one bounded table; the entries that did not fail for the longest time go first."""

    def __init__(self) -> None:
        self._entries: TTLCache[Key, int] = TTLCache(MAX_ENTRIES, KEPT_S)

    async def count(self, account: str, address: str) -> Failures:
        return Failures(here=self._count((account, address)), anywhere=self._count((account, "")))

    async def add(self, account: str, address: str) -> None:
        """Add one to both counts, which begins their quarter of an hour anew."""
        for key in ((account, address), (account, "")):
            self._entries[key] = self._count(key) + 1

    async def forget(self, account: str, address: str) -> None:
        """Remove the address's count; what others tried goes on counting."""
        self._entries.pop((account, address), None)

    def _count(self, key: Key) -> int:
        return int(self._entries.get(key, 0))
