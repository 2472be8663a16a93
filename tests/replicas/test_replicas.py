"""Two of each service start together, one of them may die at any moment, and it is used again when it is back."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.pictures import jpeg
from tests.plugins.stack import MODULES, URL_SETTINGS
from tests.replicas.conftest import SANDBOX, Machines, eventually, requests_answered
from tests.replicas.test_once import form, upload
from tests.services.auth_verify.api import Api, SignedIn
from tests.services.planter_orders.api import Api as OrdersApi

ROUTES = {
    "auth-verify": "/api/auth/me",
    "temp-image": "/api/temp-image-retrieve",
    "media-store": "/media/{key}",
    "checkout": "/api/checkout/session-status",
    "planter-orders": "/api/images/orders",
}


async def test_two_of_each_service_start_at_once_on_an_empty_database(
    machines: Machines, http: aiohttp.ClientSession
) -> None:
    for service in MODULES.keys() - {SANDBOX}:
        for url in machines.of(service):
            answer = await Api(http, url).get("/ready")
            assert (answer.status, answer.body["status"]) == (200, "ready"), service
    published = [(await Api(http, url).get("/.well-known/jwks.json")).body for url in machines.of("auth-verify")]
    assert published[0] == published[1]
    assert len(published[0]["keys"]) == 2  # the current one and the next


@pytest.fixture
def second_is_back(machines: Machines) -> Iterator[None]:
    """Start again what a test killed on the second machine."""
    yield
    machines.both[1].start(*(name for name in URL_SETTINGS if not machines.both[1].runs(name)))


class Customer:
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

    def _user_image(self) -> aiohttp.FormData:
        return form(username=self._who.username, image_type="gallery")

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
        uploaded = await api.call("POST", "/api/temp-image-upload", data=form())
        self.written["temp-image"].append(uploaded.status)
        if uploaded.status == 200:
            opened = await api.post("/api/checkout/embedded-session", {"imageId": uploaded.body["imageId"]})
            self.written["checkout"].append(opened.status)
        stored = await api.call("POST", "/api/upload_user_image/", token=self._who.token, data=self._user_image())
        self.written["media-store"].append(stored.status)
        ordered = await orders.upload(("a.jpg", jpeg(), "image/jpeg"))
        self.written["planter-orders"].append(ordered.status)
        refreshed = await api.refresh(self._refresh_token)
        self.written["auth-verify"].append(refreshed.status)
        if refreshed.status == 200:
            self._refresh_token = refreshed.body["refresh_token"]


async def test_one_replica_of_each_service_may_be_killed_and_is_used_again_when_it_is_back(
    machines: Machines, http: aiohttp.ClientSession, customer: SignedIn, second_is_back: None
) -> None:
    shopper, second = Customer(http, machines, customer), machines.both[1]
    await shopper.prepare()
    async with shopper.reading():
        await shopper.write_all(machines.doors[0])
        for service in URL_SETTINGS:
            await asyncio.to_thread(second.kill, service)
            await asyncio.sleep(0.1)
    assert set(shopper.read) == {(service, 200, "") for service in URL_SETTINGS}
    shopper.written.clear()
    for number in range(6):
        await shopper.write_all(machines.doors[number % 2])
    for service, statuses in shopper.written.items():
        assert set(statuses[1:]) == {200}, (service, statuses)
    assert set(shopper.written) == set(URL_SETTINGS)
    await shopper.read_all()

    await asyncio.to_thread(second.start, *URL_SETTINGS)

    async def is_used_again() -> bool:
        await shopper.read_all()
        answered = [await requests_answered(http, second.url(service), route) for service, route in ROUTES.items()]
        return all(answered)

    await eventually(is_used_again)
    assert set(shopper.read) == {(service, 200, "") for service in URL_SETTINGS}
