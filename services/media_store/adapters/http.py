"""Members of organisations, asked from auth-verify and remembered for a moment."""

from __future__ import annotations

from urllib.parse import quote

from cachetools import TTLCache

from shared.auth.service_client import ServiceClient
from shared.errors import DependencyDown

REMEMBERED_S = 30.0
REMEMBERED = 4096


class HttpMembers:
    """Asks auth-verify who belongs to which organisation; only a yes is remembered, so that who joins may act at once."""

    def __init__(self, auth_verify: ServiceClient) -> None:
        self._auth_verify = auth_verify
        self._members: TTLCache[tuple[str, str], bool] = TTLCache(REMEMBERED, REMEMBERED_S)

    async def is_member(self, organization_id: str, user_id: str) -> bool:
        """Tell whether the user is a member now, or was at most 30 s ago; of an unknown organisation nobody is.

        Raises DependencyDown where it cannot be asked.
        """
        member = (organization_id, user_id)
        if member in self._members:
            return True
        path = f"/internal/organizations/{quote(organization_id, safe='')}/members/{quote(user_id, safe='')}"
        answer = await self._auth_verify.call("GET", path)
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise DependencyDown("auth-verify")
        self._members[member] = True
        return True
