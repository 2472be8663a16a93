from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import pytest

from services.planter_orders.adapters.notifications import NoNotifications
from services.planter_orders.adapters.sql.jobs import Orphan, Orphans, PendingJobs
from services.planter_orders.adapters.sql.orders import OrderRepository
from services.planter_orders.app import MIGRATIONS, build_app
from services.planter_orders.model.orders import Order
from services.planter_orders.model.photos import Photo, photo_key
from services.planter_orders.service.announcements import OrderEvents
from services.planter_orders.service.derived_files import MetadataFiles, Thumbnails
from services.planter_orders.service.uploading import OrphanCleanup
from services.planter_orders.settings import PlanterOrdersSettings
from shared.errors import Unavailable
from shared.images.decode_pool import open_image_workers
from shared.objects import ObjectStore
from shared.objects.factory import open_object_store
from shared.persistence.engine import Database, open_database
from shared.persistence.migrations import migrate
from tests.support.processes import free_port
from tests.support.serving import ServeApp
from tests.unit.services.planter_orders.api import Api, token
from tests.unit.services.planter_orders.conftest import server_settings
from tests.unit.services.planter_orders.test_orders import PHOTO, ordered

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
UPLOAD = Orphan("0" * 32, "ann")


@asynccontextmanager
async def opened(settings: PlanterOrdersSettings) -> AsyncIterator[Database]:
    async with open_database(settings.database_url, settings.data_dir, "planter-orders") as database:
        await migrate(database, MIGRATIONS, "planter-orders", settings.data_dir)
        yield database


async def keys(store: ObjectStore) -> list[str]:
    return [facts.key async for facts in store.list("uploads/")]


async def wait_until_empty(store: ObjectStore) -> None:
    async with asyncio.timeout(20):
        while await keys(store) or any(store.spool.iterdir()):  # noqa: ASYNC110 - a sweep sets no event
            await asyncio.sleep(0.05)


async def wait_until_nothing_is_spooled(store: ObjectStore) -> None:
    """Wait for what is written behind an answer: a metadata file, a thumbnail."""
    async with asyncio.timeout(20):
        while list(store.spool.iterdir()):  # noqa: ASYNC110 - a sweep sets no event
            await asyncio.sleep(0.05)


class TestOrphans:
    @pytest.fixture
    async def database(self, settings: PlanterOrdersSettings) -> AsyncIterator[Database]:
        async with opened(settings) as database:
            yield database

    async def test_an_upload_taken_for_dead_becomes_no_order(self, database: Database) -> None:
        orphans, orders = Orphans(database), OrderRepository(database, with_webhooks=False)
        photo = Photo("a.jpg", "a.jpg", "image/jpeg", 1, 1, 1, "0" * 64)
        order = Order("0" * 32, "ann", None, None, None, NOW, (photo,))
        await orphans.open(Orphan(order.id, "ann"), NOW + MINUTE)
        assert await orphans.take_due(NOW, NOW + MINUTE, 10) == []
        assert await orphans.take_due(NOW + MINUTE, NOW + 2 * MINUTE, 10) == [Orphan(order.id, "ann")]

        async def answered(_connection: Any) -> None:
            """Keep nothing."""

        with pytest.raises(Unavailable):
            await orders.add(order, answered)
        assert await orders.get(order.id) is None

    async def test_an_upload_that_lives_is_left_alone(self, database: Database) -> None:
        orphans = Orphans(database)
        await orphans.open(UPLOAD, NOW + MINUTE)
        await orphans.extend(UPLOAD, NOW + 2 * MINUTE)
        assert await orphans.take_due(NOW + MINUTE, NOW + 2 * MINUTE, 10) == []

    async def test_a_write_that_lands_late_is_removed_too(self, database: Database, objects: ObjectStore) -> None:
        clock = [NOW]
        orphans = Orphans(database)
        cleanup = OrphanCleanup(orphans=orphans, objects=objects, now=lambda: clock[0])
        key = f"uploads/pet_images/ann/{'0' * 32}/late.jpg"
        await orphans.open(UPLOAD, NOW)
        await cleanup.sweep()
        await objects.put_bytes(key, b"late", "image/jpeg")
        await cleanup.sweep()
        assert await keys(objects) == [key]
        clock[0] += MINUTE
        await cleanup.sweep()
        assert await keys(objects) == []
        assert await orphans.take_due(NOW + 9 * MINUTE, NOW + 9 * MINUTE, 10) == []


class HeldStore:
    """A store whose writes wait until they are let through."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.writing, self.let_through = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put_bytes(self, *args: Any) -> None:
        await self._hold()
        await self._store.put_bytes(*args)

    async def put_file(self, *args: Any, **more: Any) -> None:
        await self._hold()
        await self._store.put_file(*args, **more)

    async def _hold(self) -> None:
        self.writing.set()
        await self.let_through.wait()


class TestDeletedMeanwhile:
    """What is written beside an order that is deleted at that moment goes with it, and not a minute later."""

    @pytest.fixture
    async def database(self, settings: PlanterOrdersSettings) -> AsyncIterator[Database]:
        async with opened(settings) as database:
            yield database

    @pytest.fixture(params=["a", "ab"])
    async def order(self, request: pytest.FixtureRequest, database: Database, objects: ObjectStore) -> Order:
        photos = [Photo(f"{n}.jpg", "x.jpg", "image/jpeg", len(PHOTO[1]), 1, 1, "0" * 64) for n in request.param]
        order = Order("0" * 32, "ann", None, None, None, NOW, tuple(photos))
        await Orphans(database).open(UPLOAD, NOW + MINUTE)
        for photo in photos:
            await objects.put_bytes(photo_key(order.user_id, order.id, photo.filename), PHOTO[1], photo.content_type)

        async def answered(_connection: Any) -> None:
            """Keep nothing."""

        await OrderRepository(database, with_webhooks=False).add(order, answered)
        return order

    async def delete_while(
        self, work: Any, held: HeldStore, database: Database, objects: ObjectStore, order: Order
    ) -> None:
        working = asyncio.create_task(work)
        await held.writing.wait()
        assert await OrderRepository(database, with_webhooks=False).delete(order, NOW + MINUTE)
        cleanup = OrphanCleanup(orphans=Orphans(database), objects=objects, now=lambda: NOW)
        await cleanup.remove(Orphan(order.id, order.user_id))
        held.let_through.set()
        await working
        assert await keys(objects) == []

    async def test_its_metadata_file(self, database: Database, objects: ObjectStore, order: Order) -> None:
        held = HeldStore(objects)
        await self.delete_while(metadata_files(database, held).write_first(order), held, database, objects, order)

    async def test_its_thumbnails(self, database: Database, objects: ObjectStore, order: Order) -> None:
        held = HeldStore(objects)
        async with open_image_workers(processes=1, queue_limit=9) as workers:
            thumbnails = Thumbnails(
                jobs=PendingJobs(database),
                objects=cast("ObjectStore", held),
                workers=workers,
                metadata_files=metadata_files(database, held),
                order_events=order_events(database),
                now=lambda: NOW,
            )
            await self.delete_while(thumbnails.sweep(), held, database, objects, order)


def metadata_files(database: Database, held: HeldStore) -> MetadataFiles:
    return MetadataFiles(
        orders=OrderRepository(database, with_webhooks=False),
        jobs=PendingJobs(database),
        objects=cast("ObjectStore", held),
        render=lambda _order: b"{}",
        now=lambda: NOW,
    )


def order_events(database: Database) -> OrderEvents:
    orders = OrderRepository(database, with_webhooks=False)
    return OrderEvents(orders=orders, notifications=NoNotifications(), on_change=lambda: None)


async def test_an_order_deleted_while_it_is_changed_leaves_nothing(api: Api, objects: ObjectStore) -> None:
    admin = api.as_user("boss", "admin")
    for _ in range(8):
        order_id = await ordered(api)
        path = f"/api/admin/orders/{order_id}"
        await asyncio.gather(
            admin.call("PATCH", path, json={"status": "cancelled"}),
            api.call("DELETE", f"/api/images/orders/{order_id}"),
        )
        await api.call("DELETE", f"/api/images/orders/{order_id}")
        await wait_until_empty(objects)


async def test_a_client_that_hangs_up_leaves_nothing(local: Api, embedded: PlanterOrdersSettings) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + PHOTO[1]
    address = urlsplit(local.url)
    for length in (40, 200, len(body)):
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(
            b"POST /api/images/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            + f"Authorization: Bearer {local.bearer}\r\nContent-Length: {len(body) + 100}\r\n\r\n".encode()
            + body[:length]
        )
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await writer.wait_closed()
    async with open_object_store(embedded) as store:
        await wait_until_empty(store)
    assert (await local.call("GET", "/api/images/orders")).body["orders"] == []


async def test_a_client_that_does_not_wait_for_its_answer_gets_a_whole_order_or_none(local: Api) -> None:
    for delay in (0.01, 0.05, 0.2):
        try:
            async with asyncio.timeout(delay):
                await local.upload(PHOTO)
        except TimeoutError:
            continue
    for order in (await local.call("GET", "/api/images/orders")).body["orders"]:
        assert len((await local.looked_at(order["order_id"]))["files"]) == 1


@pytest.mark.long
async def test_without_the_store_nothing_is_taken_and_nothing_deleted(
    request: pytest.FixtureRequest,
    embedded: PlanterOrdersSettings,
    serve_app: ServeApp,
    http: aiohttp.ClientSession,
) -> None:
    whole = embedded.model_copy(update=server_settings(request))
    broken = whole.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"})
    here = Api(http, await serve_app(build_app(whole, decoders=1)), token())
    there = Api(http, await serve_app(build_app(broken, decoders=1)), token())
    order_id = await ordered(here)
    await here.looked_at(order_id)
    refused = await there.upload(PHOTO, key="again")
    assert (refused.status, refused.body["code"]) == (503, "storage_unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    assert (await there.call("DELETE", f"/api/images/orders/{order_id}")).status == 503
    assert (await there.call("GET", "/ready")).status == 503
    assert (await there.call("GET", "/api/images/orders")).body["count"] == 1
    again = await here.upload(PHOTO, key="again")
    assert again.status == 200
    async with open_object_store(whole) as store:
        folders = {key.split("/")[3] for key in await keys(store)}
    assert folders == {order_id, again.body["order_id"]}
