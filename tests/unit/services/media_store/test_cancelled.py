from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import sqlalchemy as sa

from services.media_store.adapters.sql.images import SqlImages
from services.media_store.service.images import UserImage
from shared.auth.access_tokens import Principal
from shared.errors import DependencyDown, NotAllowedValue
from shared.images.decode_pool import ImageWorkers
from shared.images.formats.header import damaged
from shared.uploads import UploadedFile
from tests.support import pictures
from tests.unit.services.media_store.store import ORGANIZATION, Store

SLOW_S = 0.5
ANN = Principal("ann", "ann", (), time.time() + 3600)
Calls = dict[str, Callable[[], Awaitable[object]]]


@pytest.fixture
async def committing(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """From now on a commit is slow, and goes on when whoever waits for it is cancelled; gives the wait for one to begin."""
    if store.settings.database_url:
        await store.execute(
            sa.text(
                "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"PERFORM pg_sleep({SLOW_S}); RETURN NULL; EXCEPTION WHEN query_canceled THEN RETURN NULL; END $$"
            )
        )
        await store.execute(
            sa.text(
                "CREATE CONSTRAINT TRIGGER slowly AFTER INSERT ON media_images "
                "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slowly()"
            )
        )

        sleeping_or_done = sa.text(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database() "
            "UNION SELECT 1 FROM media_images"
        )

        async def begun() -> None:
            found = None
            while found is None:
                async with store.tables() as connection:
                    found = await connection.scalar(sleeping_or_done)

        yield begun
        return

    loop, begun_in_thread = asyncio.get_running_loop(), asyncio.Event()

    def commit(connection: aiosqlite.Connection) -> Awaitable[None]:
        def in_thread() -> None:
            if connection._conn.execute("SELECT 1 FROM media_images").fetchone():  # not before there is a row to commit
                loop.call_soon_threadsafe(begun_in_thread.set)
                time.sleep(SLOW_S)
            connection._conn.commit()

        return connection._execute(in_thread)

    monkeypatch.setattr(aiosqlite.Connection, "commit", commit)

    def before_commit(connection: sa.Connection) -> None:
        if not connection.dialect.is_async and connection.exec_driver_sql("SELECT 1 FROM media_images").first():
            loop.call_soon_threadsafe(begun_in_thread.set)
            time.sleep(SLOW_S)

    sa.event.listen(sa.Engine, "commit", before_commit)
    yield begun_in_thread.wait
    sa.event.remove(sa.Engine, "commit", before_commit)


@pytest.fixture
async def calls(store: Store, tmp_path: Path) -> Calls:
    """The ways in which an image is kept."""
    path = tmp_path / "image"
    path.write_bytes(pictures.with_metadata("JPEG"))
    file: UploadedFile[bytes | Path] = UploadedFile("cat.jpg", None, path.stat().st_size, "", path)
    temporary = (await store.send_temporary(pictures.jpeg()))["s3_key"]
    return {
        "of a session": lambda: store.service.store(file, "s", "original"),
        "of a user": lambda: store.service.upload(file, UserImage("ann", "cover", is_primary=True, caption=""), ANN),
        "promoted": lambda: store.uploads.promote(ORGANIZATION, temporary),
    }


async def kept(store: Store) -> tuple[list[str], list[str]]:
    """Return the keys of what is kept for good: of objects and of rows."""
    objects, rows, left = await store.everything()
    assert left == []
    return [key for key in objects if not key.startswith("temp/")], [row.key for row in rows if "key" in row._fields]


async def cancel(call: asyncio.Future[object]) -> None:
    """Cancel it again and again."""
    for _ in range(3):
        call.cancel()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("image", ["of a session", "of a user", "promoted"])
async def test_a_call_that_is_cancelled_while_its_row_is_committed_leaves_both(
    store: Store, calls: Calls, committing: Callable[[], Awaitable[object]], image: str
) -> None:
    call = asyncio.ensure_future(calls[image]())
    await committing()
    await cancel(call)
    await asyncio.gather(call, return_exceptions=True)
    objects, rows = await kept(store)
    assert len(rows) == 1
    assert objects == rows


@pytest.mark.parametrize("image", ["of a session", "of a user", "promoted"])
async def test_a_call_that_is_cancelled_before_its_row_is_refused_leaves_neither(
    store: Store, calls: Calls, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    adding, refused = asyncio.Event(), asyncio.Event()

    async def refuse(*_: object) -> None:
        adding.set()
        await refused.wait()
        raise DependencyDown("database")

    monkeypatch.setattr(SqlImages, "add", refuse)
    monkeypatch.setattr(SqlImages, "add_for_user", refuse)
    call = asyncio.ensure_future(calls[image]())
    await adding.wait()
    await cancel(call)
    refused.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await kept(store) == ([], [])


@pytest.mark.parametrize("image", ["of a session", "of a user", "promoted"])
async def test_a_worker_that_dies_when_it_has_placed_the_image_leaves_nothing(
    store: Store, calls: Calls, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    prepare = ImageWorkers.prepare

    async def die(*arguments: Any, **options: Any) -> None:
        await prepare(*arguments, **options)
        raise damaged()

    monkeypatch.setattr(ImageWorkers, "prepare", die)
    with pytest.raises(NotAllowedValue):
        await calls[image]()
    assert await kept(store) == ([], [])
