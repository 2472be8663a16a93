"""What auth-verify keeps in one of two ways."""

from __future__ import annotations

from typing import Protocol

from services.auth_verify.model import Failures


class FailedLogins(Protocol):
    """How many logins failed in the last quarter of an hour; `account` is a name key, whether it exists or not."""

    async def count(self, account: str, address: str) -> Failures:
        """Return the counts; never raises: a login must not depend on it."""

    async def add(self, account: str, address: str) -> None:
        """Count one failure."""

    async def forget(self, account: str, address: str) -> None:
        """Forget the failures from this address, after a success."""
