"""Another photo in the place of one, asked for by the shop or not; and all photos of an order as one ZIP."""

from __future__ import annotations

import asyncio
import io
import zipfile
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.planter_orders.model.orders import Order, PhotoFixed, Status, require_replaceable, require_requestable
from services.planter_orders.model.photos import Photo, photo_key
from services.planter_orders.service.downloads import (
    ZipEntry,
    directory,
    entry_name,
    photos_zip,
    photos_zip_size,
    zip_size,
)
from services.planter_orders.settings import PlanterOrdersSettings
from shared.errors import DependencyDown
from shared.objects import ObjectStore
from shared.objects.factory import open_object_store
from shared.objects.protocol import ObjectReader
from tests.support import pictures
from tests.unit.services.planter_orders.api import Answer, Api, File, form_of
from tests.unit.services.planter_orders.test_events import listening
from tests.unit.services.planter_orders.test_faults import keys, wait_until_empty, wait_until_nothing_is_spooled
from tests.unit.services.planter_orders.test_links import opened
from tests.unit.services.planter_orders.test_orders import NO_ORDER, moved
from tests.unit.services.planter_orders.test_uploads import described

BLURRED: File = ("rex.jpg", pictures.saved(pictures.blurred(pictures.photo(seed=4)), "JPEG", quality=92), "image/jpeg")
SHARP: File = ("better.jpg", pictures.saved(pictures.photo(seed=5), "JPEG", quality=92), "image/jpeg")
OTHER: File = ("b.png", pictures.png(), "image/png")


async def replaced(api: Api, order_id: str, filename: str, file: File = SHARP, name: str = "file") -> Answer:
    path = f"/api/images/orders/{order_id}/files/{filename}"
    return await api.call("PUT", path, data=form_of([file], name=name))


async def requested(api: Api, order_id: str, filename: str, reason: str = "blurred", **more: Any) -> Answer:
    body = {"filename": filename, "reason": reason, **more}
    return await api.as_user("boss", "admin").call("POST", f"/api/admin/orders/{order_id}/photo-requests", json=body)


async def withdrawn(api: Api, order_id: str, filename: str) -> Answer:
    path = f"/api/admin/orders/{order_id}/photo-requests/{filename}"
    return await api.as_user("boss", "admin").call("DELETE", path)


async def photos_of(objects: ObjectStore) -> set[str]:
    """Return the names of all photos that are kept."""
    found = {key.rpartition("/")[2] for key in await keys(objects) if key.startswith("uploads/pet_images/")}
    return found - {"order_metadata.json"}


@pytest.fixture
async def order(api: Api) -> Any:
    return (await api.upload(BLURRED, OTHER)).body["order_metadata"]


class TestRules:
    @pytest.mark.parametrize("status", Status)
    def test_a_photo_is_fixed_once_it_is_paid_for_unless_asked_for_and_for_good_once_it_shipped(
        self, status: Status
    ) -> None:
        before_paying = status in {"pending", "awaiting_payment"}
        before_shipping = before_paying or status in {"paid", "in_production"}
        for allowed, check in (
            (before_paying, lambda: require_replaceable(status, is_requested=False)),
            (before_shipping, lambda: require_replaceable(status, is_requested=True)),
            (before_shipping, lambda: require_requestable(status)),
        ):
            if allowed:
                check()
            else:
                with pytest.raises(PhotoFixed):
                    check()

    @given(
        st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=300), st.binary(max_size=100)), max_size=5)
    )
    def test_any_archive_can_be_read(self, files: list[tuple[str, bytes]]) -> None:
        written, entries = b"", list[ZipEntry]()
        at = datetime(2026, 11, 26, 23, 59, 58, tzinfo=UTC)
        named = [(f"{n}-{name}", data) for n, (name, data) in enumerate(files)]
        for name, data in named:
            entry = ZipEntry(name, len(data), zlib.crc32(data), at, len(written))
            written += entry.header() + data
            assert entry.end == len(written)
            entries.append(entry)
        written += directory(entries)
        assert len(written) == zip_size([(name, len(data)) for name, data in named])
        with zipfile.ZipFile(io.BytesIO(written)) as archive:
            assert archive.testzip() is None
            for (name, data), info in zip(named, archive.infolist(), strict=True):
                assert (info.orig_filename, info.date_time) == (name, (2026, 11, 26, 23, 59, 58))
                assert archive.read(info) == data


class TestReplacing:
    async def test_the_new_photo_takes_the_place_of_the_old_one(
        self, api: Api, order: Any, objects: ObjectStore
    ) -> None:
        order_id, old = order["order_id"], order["files"][0]["filename"]
        await api.looked_at(order_id)
        answer = await replaced(api, order_id, old)
        assert answer.status == 200, answer
        new = answer.body
        assert new["filename"] != old
        assert (new["replaces"], new["original_filename"], new["size"]) == (old, "better.jpg", len(SHARP[1]))
        assert (new["quality"], new["request"]) == (None, None)
        shown = await api.looked_at(order_id)
        assert [file["filename"] for file in shown["files"]] == [new["filename"], order["files"][1]["filename"]]
        assert shown["files"][0]["quality"]["ok"] is True
        assert (await opened(api, shown["files"][0]["links"]["photo"])).raw == SHARP[1]
        assert (await opened(api, shown["files"][0]["links"]["thumbnail"])).status == 200
        gone = await api.call("GET", f"/api/images/orders/{order_id}/files/{old}")
        assert (gone.status, gone.body["code"]) == (404, "photo_not_found")
        kept = {key.rpartition("/")[2] for key in await keys(objects)}
        names = {file["filename"] for file in shown["files"]}
        assert kept == {"order_metadata.json", *names, *(f"{name}.webp" for name in names)}
        await described(objects, f"uploads/pet_images/ann/{order_id}/order_metadata.json", shown)
        await wait_until_nothing_is_spooled(objects)

    async def test_who_asks_again_gets_the_same_answer(self, api: Api, order: Any) -> None:
        order_id, old = order["order_id"], order["files"][0]["filename"]
        first = await replaced(api, order_id, old)
        again = await replaced(api, order_id, old)
        assert (again.status, again.body["filename"]) == (200, first.body["filename"])
        other = await replaced(api, order_id, old, OTHER)
        assert (other.status, other.body["code"]) == (404, "photo_not_found")
        assert len((await api.order(order_id))["files"]) == 2

    async def test_of_many_at_once_one_is_kept(self, api: Api, order: Any, objects: ObjectStore) -> None:
        order_id, old = order["order_id"], order["files"][0]["filename"]
        photos = [(f"{n}.jpg", pictures.jpeg(300, 200 + n), "image/jpeg") for n in range(5)]
        answers = await asyncio.gather(*(replaced(api, order_id, old, photo) for photo in photos))
        assert sorted(answer.status for answer in answers) == [200] + [404] * 4
        (won,) = [answer.body["filename"] for answer in answers if answer.status == 200]
        await api.looked_at(order_id)
        async with asyncio.timeout(20):
            while await photos_of(objects) != {won, order["files"][1]["filename"]}:  # noqa: ASYNC110 - a sweep sets no event
                await asyncio.sleep(0.05)

    @pytest.mark.parametrize(
        ("file", "name", "status", "code"),
        [
            (("a.jpg", b"no image", "image/jpeg"), "file", 415, "unsupported_image"),
            (("a.jpg", SHARP[1][:5000], "image/jpeg"), "file", 422, "image_damaged"),
            (("a.jpg", b"", "image/jpeg"), "file", 400, "image_empty"),
            (("a.jpg", SHARP[1] + bytes(10 * 2**20), "image/jpeg"), "file", 413, "file_too_large"),
            (SHARP, "files", 400, "no_file"),
        ],
    )
    async def test_what_is_no_photo_leaves_the_old_one(
        self, api: Api, order: Any, objects: ObjectStore, file: File, name: str, status: int, code: str
    ) -> None:
        order_id, old = order["order_id"], order["files"][0]["filename"]
        await api.looked_at(order_id)
        answer = await replaced(api, order_id, old, file, name)
        assert (answer.status, answer.body["code"]) == (status, code), answer
        shown = await api.call("GET", f"/api/images/orders/{order_id}/files/{old}")
        assert (shown.status, shown.raw) == (200, BLURRED[1])
        assert await photos_of(objects) == {each["filename"] for each in order["files"]}
        await wait_until_nothing_is_spooled(objects)

    async def test_what_is_paid_is_fixed(self, api: Api, order: Any) -> None:
        order_id, old = order["order_id"], order["files"][0]["filename"]
        for status in ("paid", "in_production", "shipped"):
            await moved(api, order_id, status)
            answer = await replaced(api, order_id, old)
            assert (answer.status, answer.body["code"]) == (409, "photo_fixed")
        assert (await api.order(order_id))["files"][0]["filename"] == old

    async def test_strangers_and_unknown_photos_are_404(self, api: Api, order: Any) -> None:
        order_id, old = order["order_id"], order["files"][0]["filename"]
        assert (await replaced(api.as_user("ben"), order_id, old)).body["error"] == "Order not found"
        assert (await replaced(api, NO_ORDER, old)).status == 404
        for name in ("x.jpg", "order_metadata.json"):
            assert (await replaced(api, order_id, name)).status == 404
        assert (
            await Api(api.http, api.url, "").call("PUT", f"/api/images/orders/{order_id}/files/{old}")
        ).status == 401

    async def test_an_order_deleted_meanwhile_leaves_nothing(self, api: Api, objects: ObjectStore) -> None:
        for _ in range(4):
            made = (await api.upload(BLURRED)).body["order_metadata"]
            order_id, old = made["order_id"], made["files"][0]["filename"]
            answers = await asyncio.gather(
                replaced(api, order_id, old), api.call("DELETE", f"/api/images/orders/{order_id}")
            )
            assert answers[0].status in {200, 404}
            assert answers[1].status == 200
        await wait_until_empty(objects)


class TestRequests:
    async def test_the_shop_asks_and_the_customer_sends_another_one(self, api: Api, order: Any) -> None:
        order_id, old = order["order_id"], order["files"][0]["filename"]
        await moved(api, order_id, "paid")
        answer = await requested(api, order_id, old, note="Could we see his eyes?")
        assert answer.status == 201, answer
        assert answer.body["filename"] == old
        request = answer.body["request"]
        assert {**request, "at": ""} == {"reason": "blurred", "note": "Could we see his eyes?", "at": ""}
        assert request["at"].endswith("Z")
        assert (await api.order(order_id))["files"][0]["request"] == request
        again = await requested(api, order_id, old, "small")
        assert (again.status, again.body["request"]["reason"], again.body["request"]["note"]) == (201, "small", None)
        assert (await replaced(api, order_id, order["files"][1]["filename"])).status == 409
        new = await replaced(api, order_id, old)
        assert (new.status, new.body["request"], new.body["replaces"]) == (200, None, old)
        assert (await replaced(api, order_id, new.body["filename"], OTHER)).status == 409

    async def test_a_request_can_be_taken_back(self, api: Api, order: Any) -> None:
        order_id, old = order["order_id"], order["files"][0]["filename"]
        await moved(api, order_id, "paid")
        await requested(api, order_id, old)
        answer = await withdrawn(api, order_id, old)
        assert (answer.status, answer.body["filename"], answer.body["request"]) == (200, old, None)
        assert (await withdrawn(api, order_id, old)).body["code"] == "request_not_found"
        assert (await replaced(api, order_id, old)).status == 409

    async def test_from_shipped_on_nobody_can_ask(self, api: Api, order: Any) -> None:
        order_id, old = order["order_id"], order["files"][0]["filename"]
        await moved(api, order_id, "paid", "in_production")
        await requested(api, order_id, old)
        await moved(api, order_id, "shipped")
        assert (await requested(api, order_id, old)).body["code"] == "photo_fixed"
        assert (await api.order(order_id))["files"][0]["request"] is None
        assert (await replaced(api, order_id, old)).status == 409

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"filename": "", "reason": "ugly"}, 422),
            ({"reason": "small"}, 400),
            ({"filename": "x.jpg"}, 400),
            ({"filename": "x.jpg", "reason": "small"}, 404),
            ({"filename": "x.jpg", "reason": "small", "note": "x" * 501}, 422),
            ({"filename": "x.jpg", "reason": ["small"]}, 422),
        ],
    )
    async def test_what_is_no_request_is_refused(self, local: Api, body: Any, status: int) -> None:
        order_id = (await local.upload(OTHER)).body["order_id"]
        path = f"/api/admin/orders/{order_id}/photo-requests"
        assert (await local.as_user("boss", "admin").call("POST", path, json=body)).status == status

    async def test_only_admins_ask(self, api: Api, order: Any) -> None:
        path = f"/api/admin/orders/{order['order_id']}/photo-requests"
        assert (await api.call("POST", path, json={})).status == 403
        assert (await api.call("DELETE", f"{path}/x.jpg")).status == 403
        boss = api.as_user("boss", "admin")
        body = {"filename": "x.jpg", "reason": "small"}
        assert (await boss.call("POST", path.replace(order["order_id"], NO_ORDER), json=body)).status == 404


async def test_the_stream_tells_what_happens_to_photos(api: Api) -> None:
    order = (await api.upload(OTHER)).body["order_metadata"]
    order_id, old = order["order_id"], order["files"][0]["filename"]
    await api.looked_at(order_id)
    async with listening(api, order_id) as listener:
        state = await listener.next()
        await requested(api, order_id, old)
        new = (await replaced(api, order_id, old)).body["filename"]
        heard = [await listener.next("photo") for _ in range(3)]
    assert state is not None
    assert [{**(event or {}), "id": 0, "at": ""} for event in heard] == [
        {"id": 0, "order_id": order_id, "filename": name, "what": what, "at": ""}
        for name, what in ((old, "requested"), (new, "replaced"), (new, "checked"))
    ]
    numbers = [state["id"], *(event["id"] for event in heard if event)]
    assert numbers == sorted(set(numbers))
    async with listening(api, order_id, str(numbers[1])) as listener:
        assert await listener.next("photo") == heard[1]


async def test_who_comes_first_does_not_hear_what_was_before(api: Api) -> None:
    order_id = (await api.upload(OTHER)).body["order_id"]
    await api.looked_at(order_id)
    async with listening(api, order_id) as listener:
        assert await listener.next() is not None
        await moved(api, order_id, "paid")
        paid = await listener.next()
    async with listening(api, order_id, "0") as listener:
        told = [await listener.next(kind) for kind in ("status", "photo", "status")]
    assert paid is not None
    assert told[2] == paid
    assert told[1] is not None
    assert told[1]["what"] == "checked"


class TestZip:
    async def test_it_has_the_photos_as_they_were_sent(self, api: Api, tmp_path: Path) -> None:
        sent = [BLURRED, ('ünï 🐕 = "x".png', OTHER[1], "image/png"), ("rex.jpg", SHARP[1], "image/jpeg")]
        order = await api.order((await api.upload(*sent)).body["order_id"])
        answer = await api.call("GET", f"/api/images/orders/{order['order_id']}/photos.zip")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/zip")
        assert answer.headers["Content-Length"] == str(len(answer.raw))
        assert answer.headers["Content-Disposition"] == f'attachment; filename="order-{order["order_id"]}.zip"'
        assert answer.headers["Cache-Control"].startswith("private")
        with zipfile.ZipFile(io.BytesIO(answer.raw)) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [f"{n}-{file[0]}" for n, file in enumerate(sent, 1)]
            assert [archive.read(name) for name in archive.namelist()] == [file[1] for file in sent]
            assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
            assert not any(info.flag_bits & 0x08 for info in archive.infolist())
        linked = await opened(api, order["photos_zip"])
        assert (linked.status, linked.raw) == (200, answer.raw)
        head = await opened(api, order["photos_zip"], "HEAD")
        assert (head.status, head.headers["Content-Length"], head.raw) == (200, str(len(answer.raw)), b"")

    @pytest.mark.parametrize("what", ["replaced", "deleted"])
    async def test_what_goes_during_the_download_is_sent_to_the_end(
        self, api: Api, order: Any, objects: ObjectStore, what: str
    ) -> None:
        kept = kept_as(await api.looked_at(order["order_id"]))
        archive = photos_zip(objects, kept)
        written = [await anext(archive)]
        if what == "replaced":
            for photo in kept.photos:
                assert (await replaced(api, kept.id, photo.filename)).status == 200
        else:
            assert (await api.call("DELETE", f"/api/images/orders/{kept.id}")).status == 200
        async with asyncio.timeout(20):
            while await objects.stat(photo_key("ann", kept.id, kept.photos[-1].filename)):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
        written += [part async for part in archive]
        assert sum(map(len, written)) == photos_zip_size(kept)
        with zipfile.ZipFile(io.BytesIO(b"".join(written))) as whole:
            assert whole.testzip() is None
            assert [info.file_size for info in whole.infolist()] == [photo.size for photo in kept.photos]

    async def test_a_bucket_that_does_not_wait_is_asked_again(
        self, local: Api, embedded: PlanterOrdersSettings
    ) -> None:
        order = (await local.upload(BLURRED, SHARP)).body["order_metadata"]

        class Impatient:
            """A store whose objects opened whole give up after the first bytes."""

            @asynccontextmanager
            async def open(self, key: str, *, start: int = 0) -> AsyncIterator[ObjectReader]:
                async with store.open(key, start=start) as reader:
                    yield reader if start else ObjectReader(reader.facts, self._cut(reader))

            @staticmethod
            async def _cut(reader: ObjectReader) -> AsyncIterator[bytes]:
                async for chunk in reader.chunks:
                    yield chunk[:100]
                    raise DependencyDown("storage")

        async with open_object_store(embedded) as store:
            written = [part async for part in photos_zip(cast("ObjectStore", Impatient()), kept_as(order))]
        with zipfile.ZipFile(io.BytesIO(b"".join(written))) as whole:
            assert [whole.read(name) for name in whole.namelist()] == [BLURRED[1], SHARP[1]]

    @pytest.mark.parametrize(
        ("original", "name"),
        [
            ("", "1-kept.jpg"),
            (" ", "1-kept.jpg"),
            ("Rex: *?<>|.jpg", "1-Rex_ _____.jpg"),
            ("rex\u202egpj.exe", "1-rex_gpj.exe"),
            ("\u2066rex\u2069.jpg", "1-_rex_.jpg"),
        ],
    )
    def test_names_are_such_as_every_system_takes(self, original: str, name: str) -> None:
        assert entry_name(1, Photo("kept.jpg", original, "image/jpeg", 1, 1, 1, "x")) == name

    async def test_strangers_get_none(self, api: Api, order: Any) -> None:
        path = f"/api/images/orders/{order['order_id']}/photos.zip"
        assert (await api.as_user("ben").call("GET", path)).status == 404
        assert (await api.as_user("boss", "admin").call("GET", path)).status == 200
        assert (await Api(api.http, api.url, "").call("GET", path)).status == 401

    async def test_a_client_that_stops_leaves_nothing_open(self, local: Api) -> None:
        large = ("a.jpg", pictures.of_bytes(10 * 2**20), "image/jpeg")
        order = (await local.upload(*[large] * 4)).body
        await local.looked_at(order["order_id"])
        url = f"{local.url}/api/images/orders/{order['order_id']}/photos.zip"
        for _ in range(5):
            async with local.http.get(url, headers={"Authorization": f"Bearer {local.bearer}"}) as answer:
                assert answer.status == 200
                await answer.content.readexactly(100_000)
                answer.close()
        async with asyncio.timeout(20):
            while open_photos():  # noqa: ASYNC110 - the kernel sets no event
                await asyncio.sleep(0.05)

    async def test_who_stops_in_the_middle_closes_what_was_open(
        self, api: Api, order: Any, objects: ObjectStore
    ) -> None:
        class Counted:
            """A store that knows how many objects are open."""

            opened = closed = 0

            @asynccontextmanager
            async def open(self, key: str) -> AsyncIterator[Any]:
                self.opened += 1
                try:
                    async with objects.open(key) as reader:
                        yield reader
                finally:
                    self.closed += 1

        kept = kept_as(order)
        for parts in range(1, 7):
            store = Counted()
            archive = photos_zip(cast("ObjectStore", store), kept)
            for _ in range(parts):
                await anext(archive, b"")
            await archive.aclose()
            assert store.opened == store.closed > 0


def kept_as(order: Any) -> Order:
    """Return what photos_zip needs of Ann's order."""
    photos = [Photo(file["filename"], "x", "x", file["size"], 1, 1, "x") for file in order["files"]]
    return Order(order["order_id"], "ann", None, None, None, datetime.now(UTC), tuple(photos))


def open_photos() -> list[str]:
    """Return the photos that this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if "pet_images" in target and descriptor.is_file():  # the store keeps folders open
            found.append(target)
    return found
