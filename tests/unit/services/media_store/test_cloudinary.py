from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import cloudinary
import cloudinary.api
import cloudinary.uploader
import cloudinary.utils
import pytest
from pydantic import ValidationError

from services.media_store.adapters import cloudinary as adapter
from services.media_store.adapters.cloudinary import open_cloudinary
from services.media_store.model.cloudinary import parse_account
from services.media_store.settings import MediaStoreSettings
from shared.errors import DependencyDown
from shared.objects import ObjectExists
from tests.support import pictures
from tests.support.cloudinary import CLOUD, KEY, SECRET, Cloudinary, running_cloudinary
from tests.unit.services.media_store.store import Store, bearer, form, open_store, settings_of
from tests.unit.services.media_store.test_maintenance import reconcile, sweep

TROUBLE = ("silent", "slow", "cut", "nonsense", "redirect", "400", "401", "420", "500", "503")


@pytest.fixture
async def there() -> AsyncIterator[Cloudinary]:
    async with running_cloudinary() as double:
        yield double


def going_there(folder: Path, there: Cloudinary, **changes: Any) -> MediaStoreSettings:
    own = {"cloudinary_url": there.account, "cloudinary_api_base": there.url, "store_image_to": "cloudinary"}
    return settings_of(folder, **own | changes)


@pytest.fixture
def settings(tmp_path: Path, there: Cloudinary) -> MediaStoreSettings:
    return going_there(tmp_path, there)


@pytest.fixture
async def store(settings: MediaStoreSettings) -> AsyncIterator[Store]:
    async with open_store(settings) as running:
        yield running


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait one second where the service waits eight."""
    monkeypatch.setattr(adapter, "BUDGET_S", 1.0)


async def until(condition: Callable[[], Awaitable[Any] | Any]) -> None:
    async with asyncio.timeout(20):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.02)


async def ask_sdk(there: Cloudinary, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Let the official SDK make a call of the double."""
    account = {"cloud_name": CLOUD, "api_key": KEY, "api_secret": SECRET, "upload_prefix": there.url}
    return await asyncio.to_thread(call, *arguments, **account | options)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_the_official_sdk_and_the_double_agree(there: Cloudinary, algorithm: str, version: int) -> None:
    signed: Any = {"signature_algorithm": algorithm, "signature_version": version}
    image = pictures.png()
    named = {"public_id": "pet-images/by_sdk", "tags": "a&b=c", "overwrite": False, **signed}
    made = await ask_sdk(there, cloudinary.uploader.upload, io.BytesIO(image), **named)
    assert (made["public_id"], made["bytes"], made["format"]) == ("pet-images/by_sdk", len(image), "png")
    assert there.content == {"pet-images/by_sdk": image}
    assert (await ask_sdk(there, cloudinary.api.ping))["status"] == "ok"
    listed = await ask_sdk(there, cloudinary.api.resources, type="upload", prefix="pet-images/", max_results=10)
    assert [one["public_id"] for one in listed["resources"]] == ["pet-images/by_sdk"]
    assert (await ask_sdk(there, cloudinary.api.resource, "pet-images/by_sdk"))["bytes"] == len(image)
    gone = [await ask_sdk(there, cloudinary.uploader.destroy, "pet-images/by_sdk", **signed) for _ in range(2)]
    assert [answer["result"] for answer in gone] == ["ok", "not found"]


async def test_the_double_refuses_what_the_sdk_signs_wrong(there: Cloudinary, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(**options: Any) -> str:
        with pytest.raises(cloudinary.exceptions.Error) as error:
            await ask_sdk(there, cloudinary.uploader.upload, io.BytesIO(pictures.png()), public_id="a", **options)
        return str(error.value)

    assert "Invalid Signature" in await refused(api_secret="another")
    assert "Unknown API key" in await refused(api_key="1")
    assert "Unsupported parameter" in await refused(folder="b")
    monkeypatch.setattr(cloudinary.utils, "now", lambda: str(int(time.time()) - 3700))
    assert "Stale request" in await refused()
    with pytest.raises(cloudinary.exceptions.AuthorizationRequired):
        await ask_sdk(there, cloudinary.api.ping, api_secret="another")
    assert there.assets == {}


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_an_image_of_a_session_goes_there_and_nowhere_else(
    tmp_path: Path, there: Cloudinary, algorithm: str
) -> None:
    account = f"{there.account}?signature_algorithm={algorithm}"
    async with open_store(going_there(tmp_path, there, cloudinary_url=account)) as store:
        stored = await store.store(pictures.jpeg(exif=pictures.exif(6)), session_id="s1", purpose="processed_oil")
        public_id = stored["key"].removesuffix(".jpg")
        assert stored["key"].startswith("pet-images/s1_processed_oil_")
        assert stored["url"] == there.assets[public_id]["secure_url"]
        kept = there.content[public_id]
        assert len(kept) == stored["size"]
        assert b"Camera" not in kept
        assert await ask_sdk(there, cloudinary.api.resource, public_id) == there.assets[public_id]
        objects, (row,), spooled = await store.everything()
        assert (objects, row.key, row.url, spooled) == ([], stored["key"], stored["url"], [])
        listed = await store.call("GET", "/api/admin/images?kind=stored", headers=bearer("boss", admin=True))
        assert [(one["key"], one["url"]) for one in listed.json["images"]] == [(stored["key"], stored["url"])]
        for method in ("GET", "HEAD"):
            shown = await store.call(method, f"/media/{stored['key']}")
            assert (shown.status, shown.headers["Location"]) == (307, stored["url"])


async def test_everything_else_stays_in_the_own_store(store: Store, there: Cloudinary) -> None:
    image = await store.upload(pictures.png())
    assert there.assets == {}
    assert len(await store.object_keys()) == 1
    assert image["url"].startswith(store.settings.public_url)


async def test_what_is_no_image_never_gets_there(store: Store, there: Cloudinary) -> None:
    for image, status in ((b"nonsense", 415), (pictures.jpeg()[:300], 422), (b"", 400)):
        assert (await store.call("POST", "/store-image", data=form(image))).status == status
    assert there.calls == []
    assert await store.everything() == ([], [], [])


async def test_deleting_destroys_it_there(store: Store, there: Cloudinary) -> None:
    stored = await store.store(pictures.png())
    path = f"/media/{stored['key']}"
    assert (await store.call("DELETE", path)).status == 401
    answers = await asyncio.gather(*(store.call("DELETE", path, headers=bearer("boss", admin=True)) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 404, 404, 404, 404]
    assert there.assets == {}
    assert await store.everything() == ([], [], [])
    assert (await store.call("GET", path)).status == 404


async def test_what_went_there_is_still_deleted_there_when_new_ones_stay(tmp_path: Path, there: Cloudinary) -> None:
    async with open_store(going_there(tmp_path, there)) as store:
        stored = await store.store(pictures.png())
    admin = bearer("boss", admin=True)
    async with open_store(going_there(tmp_path, there, store_image_to="", cloudinary_url="")) as store:
        answer = await store.call("DELETE", f"/media/{stored['key']}", headers=admin)
        assert (answer.status, answer.json["code"]) == (503, "cloudinary_unavailable")
    async with open_store(going_there(tmp_path, there, store_image_to="")) as store:
        assert (await store.store(pictures.png()))["url"].startswith(store.settings.public_url)
        assert len(there.assets) == 1
        assert (await store.call("DELETE", f"/media/{stored['key']}", headers=admin)).status == 200
    assert there.assets == {}


@pytest.mark.parametrize("trouble", TROUBLE)
async def test_trouble_there_is_a_503_that_leaves_nothing(
    store: Store, there: Cloudinary, trouble: str, in_a_hurry: None
) -> None:
    for after_work in (False, True):
        there.trouble, there.after_work = trouble, after_work
        answer = await store.call("POST", "/store-image", data=form(pictures.png()))
        assert (answer.status, answer.json["code"]) == (503, "cloudinary_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        await until(lambda: not there.assets)
        assert await store.everything() == ([], [], [])
    there.trouble = ""
    await store.store(pictures.png())
    assert len(there.assets) == 1


async def test_what_arrives_there_when_nobody_waits_any_more_is_destroyed(
    store: Store, there: Cloudinary, in_a_hurry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "LATE_S", (0.1, 3.0))
    there.trouble = "late"
    assert (await store.call("POST", "/store-image", data=form(pictures.png()))).status == 503
    await until(lambda: there.uploads)
    await until(lambda: not there.assets)
    assert await store.everything() == ([], [], [])


async def test_an_answer_about_another_image_is_none(store: Store, there: Cloudinary) -> None:
    original = there._upload

    def confused(fields: Any) -> Any:
        return original(fields) | {"public_id": "another"}

    there._upload = confused  # type: ignore[method-assign]
    assert (await store.call("POST", "/store-image", data=form(pictures.png()))).status == 503
    await until(lambda: not there.assets)


async def test_a_client_that_leaves_leaves_nothing_half_done(store: Store, there: Cloudinary) -> None:
    there.trouble = "silent"
    call = asyncio.create_task(store.call("POST", "/store-image", data=form(pictures.png())))
    await until(lambda: there.calls)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    there.trouble = ""

    async def fits() -> bool:
        objects, rows, spooled = await store.everything()
        return not objects and not spooled and len(rows) == len(there.assets)

    await until(fits)


async def test_readiness_asks_there(store: Store, there: Cloudinary, in_a_hurry: None) -> None:
    assert (await store.call("GET", "/ready")).status == 200
    for trouble in ("401", "silent"):
        there.trouble = trouble
        answer = await store.call("GET", "/ready")
        assert answer.status == 503
        assert b"cloudinary" in answer.body
    there.trouble = ""
    assert (await store.call("GET", "/ready")).status == 200
    assert (await store.call("GET", "/health")).status == 200


async def test_reconcile_reaches_it(settings: MediaStoreSettings, there: Cloudinary) -> None:
    there.page = 2
    async with open_store(settings) as store:
        kept = [await store.store(pictures.png()) for _ in range(3)]
    lost = kept[1]["key"]
    del there.assets[lost.removesuffix(".png")]
    for name in ("pet-images/orphan_1", "pet-images/orphan_2", "of-somebody-else/x"):
        await ask_sdk(there, cloudinary.uploader.upload, io.BytesIO(pictures.png()), public_id=name)
    expected = [
        ("object at Cloudinary without a row", "pet-images/orphan_1."),
        ("object at Cloudinary without a row", "pet-images/orphan_2."),
        ("row without an object", lost),
    ]
    assert await reconcile(settings, grace_s=3600) == []
    assert await reconcile(settings) == expected
    assert await reconcile(settings, apply=True) == expected
    assert await reconcile(settings) == []
    left = {one["key"].removesuffix(".png") for one in kept} - {lost.removesuffix(".png")}
    assert set(there.assets) == left | {"of-somebody-else/x"}


async def test_what_has_had_its_time_goes_there_too_and_waits_while_it_is_down(
    tmp_path: Path, there: Cloudinary, in_a_hurry: None
) -> None:
    settings = going_there(tmp_path, there, store_image_ttl_s=1)
    async with open_store(settings) as store:
        await store.store(pictures.png())
    async with open_store(settings_of(tmp_path)) as store:
        own = await store.store(pictures.png())
    await asyncio.sleep(1.1)
    there.trouble = "503"
    with pytest.raises(DependencyDown):
        await sweep(settings)
    assert len(there.assets) == 1
    async with open_store(settings) as store:
        assert own["key"] not in await store.object_keys()
    there.trouble = ""
    await until_swept(settings, there)


async def until_swept(settings: MediaStoreSettings, there: Cloudinary) -> None:
    from services.media_store.app import open_store as open_parts
    from shared.clock import utc_now

    async with open_parts(settings, lambda: utc_now() + timedelta(minutes=2)) as parts:
        await parts.maintenance.sweep(whole=True)
        assert not await parts.images.keys("pet-images/", after="", limit=1)
    assert there.assets == {}


async def test_a_taken_id_is_never_written_over(tmp_path: Path, there: Cloudinary) -> None:
    async with open_cloudinary(there.url, parse_account(there.account), tmp_path) as client:
        for number in range(2):
            path = tmp_path / f"{number}.png"
            path.write_bytes(pictures.png(10 + number))
            put = client.put_file("pet-images/a.png", path, content_type="image/png", if_absent=True)
            if number == 0:
                await put
                assert not path.exists()
                assert await client.stat("pet-images/a.png")
                assert not await client.stat("pet-images/b.png")
            else:
                with pytest.raises(ObjectExists):
                    await put
                assert path.exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cloudinary_url": ""}, "CLOUDINARY_URL is missing"),
        ({"cloudinary_url": "https://demo"}, "CLOUDINARY_URL must be"),
        ({"cloudinary_url": "cloudinary://demo"}, "CLOUDINARY_URL must be"),
        ({"cloudinary_url": "cloudinary://1:2@demo?signature_algorithm=md5"}, "sha1 or sha256"),
        ({"store_image_to": "imgix"}, "store_image_to"),
        ({"cloudinary_api_base": "ftp://x"}, "cloudinary_api_base"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, changes: dict[str, str], sentence: str) -> None:
    own = {"store_image_to": "cloudinary", "cloudinary_url": "cloudinary://1:2@demo"} | changes
    with pytest.raises(ValidationError, match=sentence) as refused:
        settings_of(tmp_path, **own)
    assert ":2@" not in str(refused.value)
