"""A customer who does everything a shop's customer does, again and again, and keeps what was answered."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.support.pictures import jpeg
from tests.system.replicas.conftest import Machines
from tests.unit.services.auth_verify.api import Api, SignedIn
from tests.unit.services.media_store.store import form
from tests.unit.services.planter_orders.api import Api as OrdersApi
from tests.unit.services.planter_orders.api import File

PHOTO: File = ("a.jpg", jpeg(), "image/jpeg")


async def upload(http: aiohttp.ClientSession, door: str) -> str:
    return str((await Api(http, door).call("POST", "/api/temp-image-upload", data=form(PHOTO[1]))).body["imageId"])


class Shopper:
    """Calls everything that a shop's customer does, and keeps each answer's status."""

    def __init__(self, http: aiohttp.ClientSession, machines: Machines, who: SignedIn) -> None:
        self._http = http
        self._machines = machines
        self._who = who
        self._reads: dict[str, tuple[str, str]] = {}
        self._refresh_token = who.refresh_token
        self.read: Counter[tuple[str, int, str]] = Counter()
        self.written: dict[str, list[int]] = defaultdict(list)

    async def prepare(self) -> None:
        """Make what is read later."""
        door = self._machines.doors[0]
        api = Api(self._http, door)
        image_id = await upload(self._http, door)
        session = await api.post("/api/checkout/embedded-session", {"imageId": image_id})
        stored = await api.call("POST", "/api/upload_user_image/", token=self._who.token, data=self._user_image())
        self._reads = {
            "auth-verify": ("GET", "/api/auth/me"),
            "temp-image": ("HEAD", f"/api/temp-image-retrieve?imageId={image_id}"),
            "media-store": ("GET", "/media/" + stored.body["image"]["url"].partition("/media/")[2]),
            "checkout": ("GET", f"/api/checkout/session-status?session_id={session.body['session_id']}"),
            "planter-orders": ("GET", "/api/images/orders"),
        }

    def _user_image(self) -> Any:
        return form(PHOTO[1], username=self._who.username, image_type="gallery")

    async def read_all(self) -> None:
        """Read from every service at both gateways, all at once."""

        async def read(door: str, service: str) -> None:
            while True:
                try:
                    answer = await Api(self._http, door).call(*self._reads[service], token=self._who.token)
                except aiohttp.ClientPayloadError:  # it had begun when the process died, and broke off visibly
                    continue
                said = answer.body.get("code", "") if isinstance(answer.body, dict) else ""
                self.read[service, answer.status, said] += 1
                return

        await asyncio.gather(*(read(door, service) for door in self._machines.doors for service in self._reads))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read without a pause until the block ends."""
        over = False

        async def go_on() -> None:
            while not over:
                await self.read_all()

        tasks = [asyncio.create_task(go_on()) for _ in range(3)]
        try:
            yield
        finally:
            over = True
            await asyncio.gather(*tasks)

    async def write_all(self, door: str) -> None:
        """Write to every service, through other services too."""
        api = Api(self._http, door)
        orders = OrdersApi(self._http, door, self._who.token)
        uploaded = await api.call("POST", "/api/temp-image-upload", data=form(PHOTO[1]))
        self.written["temp-image"].append(uploaded.status)
        if uploaded.status == 200:
            opened = await api.post("/api/checkout/embedded-session", {"imageId": uploaded.body["imageId"]})
            self.written["checkout"].append(opened.status)
        stored = await api.call("POST", "/api/upload_user_image/", token=self._who.token, data=self._user_image())
        self.written["media-store"].append(stored.status)
        ordered = await orders.upload(PHOTO)
        self.written["planter-orders"].append(ordered.status)
        refreshed = await api.refresh(self._refresh_token)
        self.written["auth-verify"].append(refreshed.status)
        if refreshed.status == 200:
            self._refresh_token = refreshed.body["refresh_token"]
