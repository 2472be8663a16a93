"""The service as real processes: killed again and again, two at once, and with the largest order there is."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.planter_orders.settings import PlanterOrdersSettings
from shared.objects.factory import open_object_store
from tests.support import pictures
from tests.support.stack import Stack
from tests.unit.services.planter_orders.api import Api, File, token, written_down
from tests.unit.services.planter_orders.conftest import server_settings

NAME = "planter-orders"
KILLS = 6
UPLOADERS = 4
PATIENCE_S = 60
PHOTOS: list[File] = [(f"{n}.jpg", pictures.jpeg(300, 200 + n, quality=95), "image/jpeg") for n in range(4)]
MIB = 2**20

pytestmark = pytest.mark.long

StartStack = Callable[..., Stack]


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StartStack]:
    """Give a function that starts the service alone, with settings of its own."""
    started: list[Stack] = []

    def start(**settings: str) -> Stack:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        stack = Stack(folder, settings)
        started.append(stack)
        stack.start(NAME)
        return stack

    yield start
    for stack in started:
        stack.stop_all()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    # Connections are not kept: the process behind them is killed.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        yield session


def api_of(http: aiohttp.ClientSession, stack: Stack) -> Api:
    return Api(http, stack.url(NAME), token(secret=stack.settings["JWT_SECRET_KEY"]))


async def work_until_it_dies(api: Api, made: list[str]) -> None:
    """Make orders, and delete every third."""
    for number in itertools.count():
        try:
            answer = await api.upload(*PHOTOS, fields={"pet_name": "Rex"})
            assert answer.status == 200, answer
            if number % 3 == 2:
                answer = await api.call("DELETE", f"/api/images/orders/{answer.body['order_id']}")
                assert answer.status == 200, answer
            else:
                made.append(answer.body["order_id"])
        except (aiohttp.ClientError, OSError):
            return


def let_a_minute_pass(data_dir: Path) -> None:
    """Make what the killed processes left look a minute older, as if nobody had touched it since."""
    with sqlite3.connect(data_dir / f"{NAME}.db", timeout=PATIENCE_S) as connection:
        connection.execute("UPDATE planter_orphans SET due_at = datetime(due_at, '-2 minutes')")
    connection.close()
    for path in (data_dir / "spool").iterdir():
        os.utime(path, (time.time() - 120, time.time() - 120))


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.1)


@pytest.mark.timeout(300)
async def test_whenever_it_is_killed_nothing_half_made_is_left(
    start_stack: StartStack, http: aiohttp.ClientSession
) -> None:
    dice = random.Random(20251005)
    stack = start_stack()
    api, made = api_of(http, stack), list[str]()
    for _ in range(KILLS):
        before = len(made)
        uploads = [asyncio.create_task(work_until_it_dies(api, made)) for _ in range(UPLOADERS)]
        await eventually(lambda before=before: len(made) > before)  # type: ignore[misc]
        await asyncio.sleep(dice.uniform(0, 0.3))
        stack.kill(NAME)
        await asyncio.gather(*uploads)
        stack.start(NAME)
        listed = {order["order_id"] for order in (await api.call("GET", "/api/images/orders")).body["orders"]}
        assert set(made) <= listed
    data_dir = Path(stack.settings["DATA_DIR"])
    folder = data_dir / "objects/uploads/pet_images/ann"
    let_a_minute_pass(data_dir)
    await eventually(lambda: {path.name for path in folder.iterdir()} == listed)
    for order_id in listed:
        order = await api.looked_at(order_id)
        assert len(order["files"]) == len(PHOTOS)
        names = {file["filename"] for file in order["files"]}
        assert {path.name for path in (folder / order_id).iterdir()} == {"order_metadata.json", *names}
        for file, (_, data, _) in zip(order["files"], PHOTOS, strict=True):
            assert (folder / order_id / file["filename"]).read_bytes() == data
        await eventually(lambda order=order: described(folder / order["order_id"]) == written_down(order))  # type: ignore[misc]
    await eventually(lambda: not list((data_dir / "spool").iterdir()))


def described(folder: Path) -> Any:
    return json.loads((folder / "order_metadata.json").read_bytes())


async def test_a_description_that_was_lost_comes_back(start_stack: StartStack, http: aiohttp.ClientSession) -> None:
    stack = start_stack()
    api = api_of(http, stack)
    orders = [(await api.upload(PHOTOS[0])).body["order_id"] for _ in range(2)]
    known = [await api.looked_at(order_id) for order_id in orders]
    folder = Path(stack.settings["DATA_DIR"], "objects/uploads/pet_images/ann")
    stack.kill(NAME)
    (folder / orders[0] / "order_metadata.json").unlink()
    (folder / orders[1] / "order_metadata.json").write_text('{"status": "half')
    stack.start(NAME)
    await eventually((folder / orders[0] / "order_metadata.json").exists)
    await eventually(lambda: "half" not in (folder / orders[1] / "order_metadata.json").read_text())
    assert [described(folder / order_id) for order_id in orders] == [written_down(order) for order in known]


async def test_fifty_orders_at_two_replicas_are_fifty_orders(
    request: pytest.FixtureRequest,
    start_stack: StartStack,
    embedded: PlanterOrdersSettings,
    http: aiohttp.ClientSession,
) -> None:
    shared = server_settings(request)
    settings = {name.upper(): str(value) for name, value in shared.items()}
    first = start_stack(**settings)
    second = start_stack(**settings, JWT_SECRET_KEY=first.settings["JWT_SECRET_KEY"])
    apis = [api_of(http, stack) for stack in (first, second)]
    answers = await asyncio.gather(*(apis[number % 2].upload(*PHOTOS[:2]) for number in range(50)))
    assert [answer.status for answer in answers] == [200] * 50
    made = {answer.body["order_id"] for answer in answers}
    for api in apis:
        orders = (await api.call("GET", "/api/images/orders")).body["orders"]
        assert len(orders) == 50
        assert {order["order_id"] for order in orders} == made
    for order_id in made:
        await apis[0].looked_at(order_id)
    async with open_object_store(embedded.model_copy(update=shared)) as store:
        photos = [facts.key async for facts in store.list("uploads/pet_images/")]
        thumbnails = [facts.key async for facts in store.list("uploads/pet_thumbnails/")]
    assert len(photos) == 50 * 3
    assert {key.split("/")[3] for key in photos} == made
    assert len(thumbnails) == 50 * 2


def peak_bytes(stack: Stack) -> int:
    status = Path(f"/proc/{stack.pid(NAME)}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


async def test_the_largest_order_takes_little_memory(start_stack: StartStack, http: aiohttp.ClientSession) -> None:
    stack = start_stack()
    api = api_of(http, stack)
    assert (await api.upload(PHOTOS[0])).status == 200
    before = peak_bytes(stack)
    largest = pictures.of_bytes(10 * MIB)
    answers = await asyncio.gather(*(api.upload(*[("a.jpg", largest, "image/jpeg")] * 4) for _ in range(3)))
    assert [answer.status for answer in answers] == [200] * 3
    assert peak_bytes(stack) - before < 40 * MIB  # 120 MiB were sent


@pytest.mark.parametrize("backend", ["disk", "s3"])
async def test_the_largest_zip_takes_little_memory(
    request: pytest.FixtureRequest, start_stack: StartStack, http: aiohttp.ClientSession, backend: str
) -> None:
    shared = server_settings(request) if backend == "s3" else {}
    stack = start_stack(**{name.upper(): str(value) for name, value in shared.items()})
    api = api_of(http, stack)
    largest = pictures.of_bytes(10 * MIB)
    order_id = (await api.upload(*[("a.jpg", largest, "image/jpeg")] * 4)).body["order_id"]
    link = (await api.looked_at(order_id))["photos_zip"].split("/", 3)[3]

    async def download() -> int:
        async with http.get(f"{stack.url(NAME)}/{link}") as answer:
            assert answer.status == 200
            received = 0
            async for chunk in answer.content.iter_any():
                received += len(chunk)
            assert received == int(answer.headers["Content-Length"])
            return received

    before = peak_bytes(stack)
    assert all(received > 40 * MIB for received in await asyncio.gather(*(download() for _ in range(3))))
    assert peak_bytes(stack) - before < 24 * MIB  # 120 MiB were sent
