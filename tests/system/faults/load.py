"""A mixed load whose clients remember what they were promised, and ask for it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.support import pictures
from tests.system.faults.calls import Answer, Customer
from tests.unit.services.temp_image.stores import thirty_seconds_pass

CLIENTS_OF_A_KIND = 2
PAUSE_S = 0.2
FEWEST_OF_A_KIND = 5
# What a client may be told while a process is killed; a 500 is never among it.
TOLD = {200, 502, 503}


@dataclass
class Promises:
    """What was answered with 200: images by their id, images by their address, orders; and which retrieves broke off."""

    uploads: dict[str, bytes] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    broken_retrieves: set[str] = field(default_factory=set)
    sent: int = 0

    async def keep_uploading(self, customer: Customer, http: aiohttp.ClientSession) -> None:
        self.sent += 1
        image = pictures.of_bytes(20_000 + self.sent)
        answer = await told(customer.upload(http, image))
        if answer is None:
            return
        image_id = answer.json["imageId"]
        self.uploads[image_id] = image
        if self.sent % 2:
            self.broken_retrieves.add(image_id)
            found = await told(customer.retrieve(http, image_id))
            if found is not None:
                assert found.body == image
                del self.uploads[image_id]
                self.broken_retrieves.remove(image_id)

    async def keep_storing(self, customer: Customer, http: aiohttp.ClientSession) -> None:
        if (answer := await told(customer.store(http))) is not None:
            self.stored.append(answer.json["url"])

    async def keep_ordering(self, customer: Customer, http: aiohttp.ClientSession) -> None:
        if (answer := await told(customer.order(http))) is not None:
            self.orders.append(answer.json["order_id"])

    async def require_kept(self, customer: Customer, http: aiohttp.ClientSession, data_dir: Path) -> None:
        """Ask for all of it."""
        assert min(len(self.uploads), len(self.stored), len(self.orders)) >= FEWEST_OF_A_KIND
        for image_id in self.broken_retrieves:
            thirty_seconds_pass(data_dir, image_id)
        found = await asyncio.gather(*(customer.retrieve(http, image_id) for image_id in self.uploads))
        assert [(one.status, one.body == image) for one, image in zip(found, self.uploads.values(), strict=True)] == [
            (200, True)
        ] * len(found)
        paths = [url.removeprefix(customer.door) for url in self.stored]
        served = await asyncio.gather(*(customer.call(http, "GET", path) for path in paths))
        assert {one.status for one in served} == {200}
        listed = (await customer.call(http, "GET", "/api/images/orders")).json["orders"]
        assert {order["order_id"] for order in listed} >= set(self.orders)


async def told(call: Awaitable[Answer]) -> Answer | None:
    """Return a 200; None for a clear refusal or a connection that broke."""
    try:
        answer = await call
    except aiohttp.ClientError:
        return None
    assert answer.status in TOLD, answer
    return answer if answer.status == 200 else None


@asynccontextmanager
async def load(customer: Customer, http: aiohttp.ClientSession) -> AsyncIterator[Promises]:
    """Keep six clients busy until the block ends."""
    promises, over = Promises(), asyncio.Event()

    async def client(once: Callable[[Customer, aiohttp.ClientSession], Awaitable[None]]) -> None:
        while not over.is_set():
            await once(customer, http)
            await asyncio.sleep(PAUSE_S)

    kinds = (promises.keep_uploading, promises.keep_storing, promises.keep_ordering)
    async with asyncio.TaskGroup() as clients:
        for once in kinds * CLIENTS_OF_A_KIND:
            clients.create_task(client(once))
        yield promises
        over.set()
