"""A user has one name, however it is spelled; what the release before kept by its spelling is still there."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from hypothesis import example, given
from hypothesis import strategies as st

from services.media_store.adapters.sql.names import name_images
from services.media_store.adapters.sql.tables import IMAGES, NAMES, OLD_NAMES
from services.media_store.app import MIGRATIONS
from services.media_store.model.names import key_of_old_name
from services.media_store.settings import MediaStoreSettings
from shared.names import is_same_name, name_key
from shared.persistence.engine import open_database
from tests.support import pictures
from tests.unit.services.media_store.store import Store, bearer, form, open_store, settings_of

NFC, NFD = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
OLD_IMAGES = sa.table("media_images", *(sa.column(c.name, c.type) for c in IMAGES.c if c.name != "name_key"))


async def upload(store: Store, username: str, headers: dict[str, str], **fields: str) -> int:
    data = form(pictures.png(), username=username, image_type="gallery", **fields)
    return (await store.call("POST", "/api/upload_user_image/", data=data, headers=headers)).status


class TestOneName:
    @pytest.mark.parametrize(("registered", "spelled"), [("Sam", "sam"), (NFC, NFD), (NFD, NFC), ("Ｓam", "SAM")])
    async def test_every_spelling_uploads_lists_and_has_the_primary_image(
        self, store: Store, registered: str, spelled: str
    ) -> None:
        own = bearer("id-1", username=registered)
        for username in (registered, spelled):
            assert await upload(store, username, own, is_primary="true") == 200
        for username in (registered, spelled):
            listed = (await store.listed(username))["images"]
            assert [image["is_primary"] for image in listed] == [True, False]
        path = f"/api/user_image/{listed[1]['id']}/set_primary/"
        assert (await store.call("POST", path, headers=bearer("id-1", username=spelled))).status == 200
        assert [image["is_primary"] for image in (await store.listed(spelled))["images"]] == [False, True]

    async def test_the_name_is_shown_as_its_bearer_writes_it(self, store: Store) -> None:
        assert await upload(store, "sam", bearer("id-1", username="Sam")) == 200
        assert await upload(store, "SAM", bearer("id-1", username="sAm")) == 200
        assert all("/media/users/Sam/images/" in image["url"] for image in (await store.listed("sAM"))["images"])

    async def test_another_spelling_is_nobody_elses(self, store: Store) -> None:
        assert await upload(store, "Sam", bearer("id-1", username="Sam")) == 200
        assert await upload(store, "sam", bearer("id-2", username="sam")) == 403
        assert await upload(store, "sam", bearer("id-2", username="sаm")) == 403  # with a Cyrillic letter

    async def test_two_spellings_used_at_once_are_one_persons(self, store: Store) -> None:
        spelled = ("sam", "Sam", "SAM", "ｓam")
        statuses = await asyncio.gather(*(upload(store, name, bearer(name, username=name)) for name in spelled))
        assert sorted(statuses) == [200, 403, 403, 403]

    async def test_private_images_are_their_owners_in_any_spelling(self, tmp_path) -> None:
        async with open_store(settings_of(tmp_path, media_public_read=False)) as store:
            own = bearer("id-1", username="Sam")
            assert await upload(store, "Sam", own) == 200
            assert (await store.call("GET", "/api/user_images/sam/", headers=own)).json["count"] == 1
            other = bearer("id-2", username="sam")
            assert (await store.call("GET", "/api/user_images/Sam/", headers=other)).status == 403


def old_image(username: str, second: int, *, is_primary: bool = False) -> dict[str, Any]:
    image_id = str(uuid4())
    return {
        "id": image_id,
        "kind": "user",
        "key": f"users/{image_id}/images/gallery_1.png",
        "sha256": "0" * 64,
        "size": 1,
        "content_type": "image/png",
        "width": 1,
        "height": 1,
        "uploaded_at": BEGIN + timedelta(seconds=second),
        "username": username,
        "image_type": "gallery",
        "is_primary": is_primary,
        "caption": f"{username} {second}",
        "source_key": None,
        "deleted_at": None,
    }


async def keep_as_before(settings: MediaStoreSettings, images: Sequence[Any], owners: dict[str, str | None]) -> None:
    """Write the tables as the release before did."""

    def upgrade(connection: sa.Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes.update(connection=connection, version_table="alembic_version_media-store")
        command.upgrade(config, "0001")

    async with open_database(settings.database_url, settings.data_dir, "media-store") as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(upgrade)
        async with database.begin() as connection:
            rows = [{"username": name, "owner": owner} for name, owner in owners.items()]
            await connection.execute(sa.insert(OLD_NAMES), rows)
            await connection.execute(sa.insert(OLD_IMAGES), list(images))


async def captions(store: Store, username: str, **query: str) -> list[str]:
    return [image["caption"] for image in (await store.listed(username, **query))["images"]]


class TestWhatTheReleaseBeforeKept:
    @pytest.fixture
    def postgres_url(self, empty_database: str) -> str:
        """Give a database without tables: the migrations make them."""
        return empty_database

    async def test_the_spellings_of_one_person_become_one_name(self, settings: MediaStoreSettings) -> None:
        images = [old_image("SAM", 1), old_image("Sam", 2, is_primary=True), old_image("sam", 3, is_primary=True)]
        await keep_as_before(settings, images, {"Sam": "id-1", "sam": "id-1", "SAM": None, "empty": "id-2"})
        async with open_store(settings) as store:
            for username in ("sam", "Sam", "SAM", "sAm"):
                listed = (await store.listed(username))["images"]
                assert [image["caption"] for image in listed] == ["sam 3", "Sam 2", "SAM 1"]
                assert [image["is_primary"] for image in listed] == [True, False, False]
            assert await upload(store, "sam", bearer("id-1", username="sAm")) == 200
            assert await upload(store, "Empty", bearer("id-3", username="Empty")) == 403
            async with store.tables() as connection:
                names = {row.name_key: (row.username, row.owner) for row in await connection.execute(sa.select(NAMES))}
        assert names == {"sam": ("SAM", "id-1"), "empty": ("empty", "id-2")}

    async def test_a_spelling_of_another_person_stays_a_name_of_its_own(self, settings: MediaStoreSettings) -> None:
        images = [old_image("Sam", 1, is_primary=True), old_image("sam", 2, is_primary=True), old_image("SAM", 3)]
        await keep_as_before(settings, images, {"Sam": "id-1", "sam": "id-2", "SAM": "id-2"})
        async with open_store(settings) as store:
            assert await captions(store, "Sam") == ["Sam 1"]
            assert await captions(store, "sam") == await captions(store, "sAm") == ["SAM 3", "sam 2"]
            assert await upload(store, "Sam", bearer("id-1", username="Sam"), is_primary="true") == 200
            assert await upload(store, "Sam", bearer("id-2", username="sam")) == 403
            assert await upload(store, "SAM", bearer("id-1", username="Sam")) == 403
            assert await upload(store, "SAM", bearer("id-2", username="sam")) == 200
            assert [image["is_primary"] for image in (await store.listed("Sam"))["images"]] == [True, False]
            assert [image["is_primary"] for image in (await store.listed("sam"))["images"]] == [False, False, True]
            image = (await store.listed("Sam"))["images"][1]["id"]
            path = f"/api/user_image/{image}/set_primary/"
            assert (await store.call("POST", path, headers=bearer("id-2", username="sam"))).status == 403
            assert (await store.call("POST", path, headers=bearer("id-1", username="Sam"))).status == 200

    async def test_what_it_adds_beside_this_release_is_named_by_the_next_sweep(
        self, settings: MediaStoreSettings
    ) -> None:
        await keep_as_before(settings, [old_image("Sam", 1, is_primary=True)], {"Sam": "id-1"})
        async with open_store(settings) as store:
            await store.execute(sa.insert(OLD_NAMES).values(username="SAM", owner="id-1"))
            await store.execute(sa.insert(OLD_IMAGES).values(old_image("SAM", 2)))
            await store.execute(sa.insert(OLD_NAMES).values(username="sAm", owner="id-2"))
            await store.execute(sa.insert(OLD_IMAGES).values(old_image("sAm", 3, is_primary=True)))
            assert await captions(store, "sam") == ["Sam 1"]
            async with store.tables() as connection:
                assert await name_images(connection, limit=10) == 2
                assert await name_images(connection, limit=10) == 0
            assert await captions(store, "sam") == ["SAM 2", "Sam 1"]
            assert await captions(store, "sAm") == ["sAm 3"]

    async def test_processes_that_start_at_once_name_all_of_it_once(self, settings: MediaStoreSettings) -> None:
        images = [old_image("Sam" if n % 2 else "sam", n, is_primary=n > 1198) for n in range(1201)]
        await keep_as_before(settings, images, {"Sam": "id-1", "sam": "id-1"})
        async with open_store(settings) as store, open_store(settings) as other:
            for one in (store, other):
                listed = (await one.listed("SAM"))["images"]
                assert [image["is_primary"] for image in listed] == [True] + [False] * 1200
                assert {image["id"] for image in listed} == {image["id"] for image in images}

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["sam", "Sam", "SAM", "ｓam", "ann", "\ufdfa" * 150]), st.sampled_from([None, "a", "b"])
            ),
            unique_by=lambda item: item[0],
        )
    )
    @example([("Sam", "a"), ("sam", "b")])
    def test_no_image_changes_hands(self, old: list[tuple[str, str | None]]) -> None:
        owners: dict[str, str | None] = {}
        keys: dict[str, str] = {}
        for username, owner in sorted(old, key=lambda item: item[0] != name_key(item[0])):
            key = keys[username] = key_of_old_name(username, owner, owners)
            owners[key] = owners.get(key) or owner
        for username, owner in old:
            assert is_same_name(keys[username], username)
            assert owner in {None, owners[keys[username]]}
