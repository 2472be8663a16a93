"""A process that dies while a photo is replaced: the order has the old one or the new one, and in the end nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from services.planter_orders.adapters.notifications import NoNotifications
from services.planter_orders.adapters.sql.jobs import Orphan, Orphans, PendingJobs
from services.planter_orders.adapters.sql.orders import OrderRepository
from services.planter_orders.adapters.sql.photos import PhotoRepository
from services.planter_orders.model.orders import Order
from services.planter_orders.model.photos import Photo, PhotoRequest, RequestReason, photo_key, thumbnail_key
from services.planter_orders.service.announcements import OrderEvents
from services.planter_orders.service.derived_files import MetadataFiles
from services.planter_orders.service.uploading import IncomingPhoto, OrphanCleanup, Uploading
from services.planter_orders.settings import PlanterOrdersSettings
from shared.images.decode_pool import ImageWorkers, open_image_workers
from shared.images.validation import ImageFormat, ImageLimits
from shared.objects import ObjectStore
from shared.persistence.engine import Database
from shared.uploads import UploadedFile
from tests.support import pictures
from tests.unit.services.planter_orders.test_faults import keys, opened

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORDER_ID = "0" * 32
OLD, NEW, OTHER = pictures.jpeg(60, 40), pictures.jpeg(61, 40), pictures.png()
LIMITS = ImageLimits(1_000_000, 1, frozenset({ImageFormat.JPEG, ImageFormat.PNG}))
MOST_STEPS = 40


class Died(BaseException):
    """The process is no more."""


class Fate:
    """The process dies before or after the step of this number, and then takes no further one."""

    def __init__(self, step: int, *, after: bool) -> None:
        self.left = step
        self.after = after
        self.is_dead = False

    async def run(self, call: Any) -> Any:
        if self.is_dead:
            raise Died
        self.left -= 1
        if self.left == 0 and not self.after:
            self.is_dead = True
            raise Died
        result = await call()
        if self.left == 0:
            self.is_dead = True
            raise Died
        return result


class Mortal:
    """What a process that may die does outside itself."""

    def __init__(self, target: Any, fate: Fate) -> None:
        self._target = target
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not inspect.iscoroutinefunction(inspect.unwrap(found)):
            return found
        return lambda *args, **more: self._fate.run(lambda: found(*args, **more))


class Process:
    """The use cases of one process; its clock can be set."""

    def __init__(
        self, database: Database, objects: ObjectStore, workers: ImageWorkers, fate: Fate | None = None
    ) -> None:
        self.now = NOW

        def mortal(target: Any) -> Any:
            return target if fate is None else Mortal(target, fate)

        clock: dict[str, Any] = {"now": lambda: self.now}
        orders, orphans = mortal(OrderRepository(database, with_webhooks=True)), mortal(Orphans(database))
        jobs, store = mortal(PendingJobs(database)), mortal(objects)
        self.cleanup = OrphanCleanup(orphans=orphans, objects=store, **clock)
        self.metadata_files = MetadataFiles(orders=orders, jobs=jobs, objects=store, render=described, **clock)
        self.uploading = Uploading(
            orders=orders,
            photos=mortal(PhotoRepository(database, with_webhooks=True)),
            orphans=orphans,
            objects=store,
            workers=workers,
            limits=LIMITS,
            cleanup=self.cleanup,
            metadata_files=self.metadata_files,
            order_events=OrderEvents(orders=orders, notifications=NoNotifications(), on_change=lambda: None),
            on_order=lambda: None,
            **clock,
        )

    async def sweep(self) -> None:
        """Do what goes on by itself, for some minutes."""
        for minutes in (2, 4, 6):
            self.now = NOW + timedelta(minutes=minutes)
            await self.cleanup.sweep()
            await self.metadata_files.sweep()


def described(order: Order) -> bytes:
    return " ".join(photo.filename for photo in order.photos).encode()


@pytest.fixture
async def database(settings: PlanterOrdersSettings) -> AsyncIterator[Database]:
    async with opened(settings) as database:
        yield database


async def placed(database: Database, objects: ObjectStore, order_id: str) -> Order:
    """Keep an order that is paid, with two photos, one of which the shop asks for again."""
    photos = []
    for name, data in (("old.jpg", OLD), ("other.png", OTHER)):
        content_type = "image/jpeg" if name.endswith("jpg") else "image/png"
        sha256 = hashlib.sha256(data).hexdigest()
        photos.append(Photo(name, name, content_type, len(data), 1, 1, sha256))
        await objects.put_bytes(photo_key("ann", order_id, name), data, content_type)
        await objects.put_bytes(thumbnail_key("ann", order_id, name), b"thumbnail", "image/webp")
    order = Order(order_id, "ann", None, None, None, NOW, tuple(photos))
    orders = OrderRepository(database, with_webhooks=True)
    await Orphans(database).open(Orphan(order_id, "ann"), NOW + timedelta(minutes=1))

    async def answered(_connection: Any) -> None:
        """Keep nothing."""

    await orders.add(order, answered)
    await PhotoRepository(database, with_webhooks=True).request(
        order_id, "old.jpg", PhotoRequest(RequestReason.SMALL, None, NOW)
    )
    found = await orders.get(order_id)
    assert found is not None
    return found


def incoming(folder: Path) -> IncomingPhoto:
    path = folder / "spool-of-the-test"
    path.write_bytes(NEW)
    return UploadedFile("new.jpg", "image/jpeg", len(NEW), hashlib.sha256(NEW).hexdigest(), path)


@pytest.mark.parametrize("after", [False, True])
async def test_whenever_it_dies_the_order_has_one_photo_or_the_other(
    database: Database, objects: ObjectStore, *, after: bool
) -> None:
    outcomes = list[str]()
    async with open_image_workers(processes=1, queue_limit=9) as workers:
        for step in range(1, MOST_STEPS):
            order_id = f"{step:032x}"
            order = await placed(database, objects, order_id)
            fate = Fate(step, after=after)
            process = Process(database, objects, workers, fate)
            try:
                await process.uploading.replace(order, "old.jpg", incoming(objects.spool))
            except Died:
                await asyncio.sleep(0)  # what it began to undo dies too
            (objects.spool / "spool-of-the-test").unlink(missing_ok=True)
            await Process(database, objects, workers).sweep()
            outcomes.append(await the_photo_of(database, objects, order_id))
            if not fate.is_dead:
                break
        else:
            pytest.fail("it took more steps than anybody thought")
    # It changes hands once, and what was answered is never taken back.
    assert outcomes == sorted(outcomes, reverse=True)
    assert (outcomes[0], outcomes[-1]) == ("old", "new")
    assert len(outcomes) > 6


async def the_photo_of(database: Database, objects: ObjectStore, order_id: str) -> str:
    """Return which photo the order has; there are its bytes, and nothing that belongs to no photo."""
    order = await OrderRepository(database, with_webhooks=True).get(order_id)
    assert order is not None
    for photo in order.photos:
        async with objects.open(photo_key("ann", order_id, photo.filename)) as found:
            assert hashlib.sha256(await found.read()).hexdigest() == photo.sha256
    names = {photo.filename for photo in order.photos}
    left = {key.rpartition("/")[2] for key in await keys(objects) if order_id in key}
    assert names | {"order_metadata.json"} <= left
    assert left <= names | {"order_metadata.json"} | {f"{name}.webp" for name in names}
    async with objects.open(f"uploads/pet_images/ann/{order_id}/order_metadata.json") as found:
        assert await found.read() == described(order)
    first = order.photos[0]
    assert (first.request is None) == (first.filename != "old.jpg")
    return "old" if first.filename == "old.jpg" else "new"


async def test_a_replacement_that_took_too_long_is_refused_and_the_old_photo_stays(
    database: Database, objects: ObjectStore
) -> None:
    order = await placed(database, objects, ORDER_ID)

    class Slow:
        """A store in which a write takes so long that a sweep takes the upload for dead."""

        def __getattr__(self, name: str) -> Any:
            return getattr(objects, name)

        def placing(self, _keys: Any) -> None:
            """Have it written here, and not by a worker."""

        async def put_file(self, *args: Any, **more: Any) -> None:
            await objects.put_file(*args, **more)
            process.now = NOW + timedelta(minutes=3)
            await process.cleanup.sweep()

    async with open_image_workers(processes=1, queue_limit=9) as workers:
        process = Process(database, cast("ObjectStore", Slow()), workers)
        with pytest.raises(Exception, match="took too long"):
            await process.uploading.replace(order, "old.jpg", incoming(objects.spool))
        (objects.spool / "spool-of-the-test").unlink(missing_ok=True)
        await process.sweep()
    assert await the_photo_of(database, objects, ORDER_ID) == "old"
