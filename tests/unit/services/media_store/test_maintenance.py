from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.media_store.adapters.sql.tables import IMAGES, METADATA
from services.media_store.app import open_store as open_parts
from services.media_store.service.maintenance import Swept
from services.media_store.settings import MediaStoreSettings
from tests.support import pictures
from tests.support.stack import ROOT
from tests.unit.services.media_store.store import Store, bearer, open_store, settings_of


async def sweep(settings: MediaStoreSettings) -> Swept:
    """Do what `sweep` does."""
    async with open_parts(settings) as parts:
        return await parts.maintenance.sweep(whole=True)


async def reconcile(settings: MediaStoreSettings, *, grace_s: float = -5, apply: bool = False) -> list[tuple[str, str]]:
    """Do what `reconcile` does; return what it finds."""
    async with open_parts(settings) as parts:
        found = parts.maintenance.reconcile(grace=timedelta(seconds=grace_s), apply=apply)
        return sorted([(item.what, item.key) async for item in found])


async def run(settings: MediaStoreSettings, *arguments: str) -> list[str]:
    """Run a command as an operator would; return what it prints."""
    given = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATA_DIR": str(settings.data_dir),
        "JWT_SECRET_KEY": settings.jwt_secret_key,
        "INTERNAL_SECRET": settings.internal_secret,
    }
    command = [sys.executable, "-m", "services.media_store", *arguments]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=settings.data_dir, env=given, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode().splitlines()


@pytest.mark.long
async def test_the_commands_print_what_they_do(local: Store) -> None:
    for number in range(2):
        await local.objects.put_bytes(f"users/a/images/cover_{number}.jpg", b"x", "image/jpeg")
    assert await run(local.settings, "reconcile") == ["would remove 0 in all"]
    assert await run(local.settings, "reconcile", "--grace-s", "-5") == [
        "would remove object without a row: users/a/images/cover_0.jpg",
        "would remove object without a row: users/a/images/cover_1.jpg",
        "would remove 2 in all",
    ]
    assert (await run(local.settings, "reconcile", "--apply", "--grace-s", "-5"))[-1] == "removed 2 in all"
    assert await run(local.settings, "sweep") == [
        "cleared 0 spool files, finished 0 deletions, deleted 0 expired images and 0 temporary uploads"
    ]
    assert await local.everything() == ([], [], [])


async def test_reconcile_finds_what_a_crash_leaves_and_removes_it_only_when_told(store: Store) -> None:
    kept = [await store.upload(pictures.jpeg(), user) for user in ("a", "ab", "b")]
    kept_key = (await store.store(pictures.jpeg()))["key"]
    await store.call("GET", f"/media/{kept_key}?w=160")
    lost = await store.store(pictures.jpeg())
    await store.call("GET", f"/media/{lost['key']}?w=160")
    await store.objects.delete(lost["key"])
    orphans = ["events/o/x.png", "pet-images/aa.jpg", "pet-images/zz.jpg", "users/a/images/cover_1.jpg"]
    others = ["checkouts/x.jpg", "temp/o/x.jpg", "uploads/pet_images/x.jpg"]
    for key in orphans + others:
        await store.objects.put_bytes(key, b"x", "image/jpeg")
    await store.objects.put_bytes("renditions/pet-images/gone.jpg/v.w160.webp", b"x", "image/webp")
    assert await reconcile(store.settings, grace_s=3600, apply=True) == []
    before = await store.everything()

    found = [
        *(("object without a row", key) for key in orphans),
        ("row without an object", lost["key"]),
        ("rendition without an original", "renditions/pet-images/gone.jpg/v.w160.webp"),
    ]
    assert await reconcile(store.settings) == sorted(found)
    assert await store.everything() == before
    assert await reconcile(store.settings, apply=True) == sorted(found)
    assert await reconcile(store.settings) == []
    objects = await store.object_keys()
    assert set(others) < set(objects)
    assert len(objects) == len(others) + len(kept) + 2
    for image in kept:
        assert (await store.call("GET", image["url"])).status == 200


async def test_a_deletion_that_was_interrupted_is_finished_by_who_repeats_it_or_by_the_sweep(store: Store) -> None:
    images = [await store.upload(pictures.jpeg()) for _ in range(3)]
    mark = sa.update(IMAGES).where(IMAGES.c.id.in_([image["id"] for image in images[:2]]))
    await store.execute(mark.values(deleted_at=datetime.now(UTC) - timedelta(minutes=5)))
    assert (await store.listed())["images"] == [images[2]]
    assert (await store.call("GET", images[0]["url"])).status == 404
    delete = f"/api/user_image/{images[0]['id']}/delete/"
    assert (await store.call("DELETE", delete, headers=bearer("bob"))).status == 403
    assert (await store.call("DELETE", delete, headers=bearer())).status == 200
    assert (await sweep(store.settings)).deletions == 1
    objects, rows, _ = await store.everything()
    assert (len(objects), len(rows)) == (1, 2)


async def test_temporary_uploads_stay_unless_a_time_to_live_is_set(store: Store) -> None:
    promoted, left = await store.send_temporary(pictures.jpeg()), await store.send_temporary(pictures.jpeg())
    await store.promote(promoted["s3_key"])
    await store.call("GET", left["public_url"] + "?w=160")
    await asyncio.sleep(2.1)
    before = await store.everything()
    for ttl_s, temporary in ((None, 0), (3600, 0), (1, 1)):
        assert await store.everything() == before
        swept = await sweep(store.settings.model_copy(update={"temp_object_ttl_s": ttl_s}))
        assert swept.temporary == temporary
    assert len(await store.object_keys()) == 2
    assert (await store.call("GET", promoted["public_url"])).status == 307
    assert (await store.call("GET", left["public_url"])).status == 404


async def test_images_of_sessions_end_with_their_time_to_live_and_users_images_do_not(store: Store) -> None:
    old, new = await store.store(pictures.jpeg()), await store.store(pictures.jpeg())
    user = await store.upload(pictures.jpeg())
    long_ago = datetime.now(UTC) - timedelta(days=2)
    await store.execute(sa.update(IMAGES).where(IMAGES.c.key != new["key"]).values(uploaded_at=long_ago))
    assert (await sweep(store.settings.model_copy(update={"store_image_ttl_s": 86400}))).stored == 1
    for url, status in ((old["url"], 404), (new["url"], 200), (user["url"], 200)):
        assert (await store.call("GET", url)).status == status


async def test_a_running_service_sweeps_by_itself(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    for name, age_s in (("spool-old", 3600), ("spool-new", 0)):
        (spool / name).write_bytes(b"x")
        os.utime(spool / name, (time.time() - age_s, time.time() - age_s))
    async with open_store(settings_of(tmp_path)) as store:
        for _ in range(100):
            if store.spooled() == ["spool-new"]:
                break
            await asyncio.sleep(0.02)
        assert store.spooled() == ["spool-new"]


async def test_many_temporary_uploads_are_swept_batch_by_batch(tmp_path: Path) -> None:
    async with open_store(settings_of(tmp_path)) as store:
        for number in range(1203):
            path = tmp_path / "objects" / "temp" / "o" / f"{number:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
            age = 10 if number % 400 else 10_000_000
            os.utime(path, (time.time() - age, time.time() - age))
        await sweep(store.settings.model_copy(update={"temp_object_ttl_s": 86400}))
        assert len(await store.object_keys()) == 1203 - 4


async def test_the_tables_are_what_the_code_expects(store: Store) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA)
        return [item for item in found if not (item[0] == "remove_table" and item[1].name.startswith("alembic_"))]

    async with store.tables() as connection:
        assert await connection.run_sync(differences) == []
