"""The services that know people, over HTTP."""

from __future__ import annotations

from services.auth_verify.model import Erasure
from shared.app.erasure import PATH
from shared.auth.service_client import ServiceClient
from shared.errors import DependencyDown


class HttpPeople:
    """What a service keeps of people, asked to be erased."""

    def __init__(self, client: ServiceClient, name: str) -> None:
        self._client = client
        self.name = name

    async def erase(self, erasure: Erasure) -> bool:
        """Have a part erased; True once nothing is left. Raises DependencyDown."""
        who = {"user_id": erasure.user_id, "username": erasure.username}
        answer = await self._client.call("POST", PATH, json=who)
        if answer.status != 200:
            raise DependencyDown(self.name)
        return answer.body["done"] is True
