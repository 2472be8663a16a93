"""Somebody who buys, stores and orders at the gateway of a running stack."""

from __future__ import annotations

from typing import Any

import aiohttp

from tests.support import pictures
from tests.support.stack import Stack
from tests.unit.services.planter_orders.api import token

PHOTO = pictures.jpeg(900, 850)


class Shopper:
    """A browser at the gateway, signed in; every request succeeds, unless another status is expected."""

    def __init__(self, http: aiohttp.ClientSession, shop: Stack) -> None:
        self.url = shop.url("gateway")
        self._http = http
        bearer = token("a-private-user-id", roles=["admin"], secret=shop.settings["JWT_SECRET_KEY"])
        self.authorization = {"Authorization": f"Bearer {bearer}"}

    async def ask(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        url = path if path.startswith("http") else self.url + path
        async with self._http.request(method, url, **options) as answer:
            assert answer.status == status, await answer.text()
            return await (answer.json() if "json" in answer.content_type else answer.read())

    async def send(
        self, path: str, field: str, fields: dict[str, str] | None = None, *, image: bytes = PHOTO, **options: Any
    ) -> Any:
        form = aiohttp.FormData(fields or {})
        form.add_field(field, image, filename="a-private-name.jpg", content_type="image/jpeg")
        return await self.ask("POST", path, data=form, **options)
