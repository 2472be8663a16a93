"""Members of organisations, asked from auth-verify and remembered for a moment."""

from __future__ import annotations

import time
from collections import OrderedDict
from urllib.parse import quote

from shared.auth.service_client import ServiceClient
from shared.errors import DependencyDown

REMEMBERED_S = 30.0
REMEMBERED = 4096


class HttpMembers:
    """Asks auth-verify; only a yes is remembered, so that who joins may act at once."""

    def __init__(self, auth_verify: ServiceClient) -> None:
        self._auth_verify = auth_verify
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def is_member(self, organization_id: str, user_id: str) -> bool:
        """Ask, unless the answer was yes within the last 30 s."""
        member = (organization_id, user_id)
        if time.monotonic() < self._until.get(member, 0.0):
            return True
        asked_at = time.monotonic()
        path = f"/internal/organizations/{quote(organization_id, safe='')}/members/{quote(user_id, safe='')}"
        answer = await self._auth_verify.call("GET", path)
        self._until.pop(member, None)
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise DependencyDown("auth-verify")
        self._until[member] = asked_at + REMEMBERED_S
        if len(self._until) > REMEMBERED:
            self._until.popitem(last=False)
        return True
