from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from shared.errors import DependencyDown, StorageFull
from shared.objects import ObjectNotFound, ObjectStore
from shared.uploads.sinks import SpoolSink
from tests.support.file_size import no_file_larger_than

KEY = "users/bob/images/profile_1.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


async def test_the_layout_equals_the_key(store: ObjectStore, root: Path) -> None:
    await store.put_bytes(KEY, b"x", "image/png")
    assert (root / KEY).read_bytes() == b"x"
    assert store.local_path(KEY) == root / KEY
    async with store.open(KEY) as reader:
        assert reader.path == root / KEY


async def test_emptied_folders_go_and_others_stay(store: ObjectStore, root: Path) -> None:
    await store.put_bytes(KEY, b"x", "image/png")
    await store.put_bytes("users/ann/1.png", b"x", "image/png")
    await store.delete(KEY)
    assert [path.name for path in (root / "users").iterdir()] == ["ann"]
    await store.delete_prefix("users/ann/")
    assert root.is_dir()
    assert not list(root.iterdir())


async def test_no_symbolic_link_leads_out(store: ObjectStore, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"secret")
    (root / "folder").symlink_to(outside)
    (root / "file.png").symlink_to(outside / "secret.png")
    for key in ("folder/secret.png", "file.png"):
        assert await store.stat(key) is None
        with pytest.raises(ObjectNotFound):
            async with store.open(key):
                pass
        with pytest.raises(ObjectNotFound):
            await store.copy(key, "copied.png")
    with pytest.raises(ObjectNotFound):
        await store.put_bytes("folder/new.png", b"x", "image/png")
    assert [facts async for facts in store.list()] == []
    assert [facts async for facts in store.list("folder/")] == []
    await store.delete_prefix("folder/")
    await store.delete("folder/secret.png")
    assert [path.name for path in outside.iterdir()] == ["secret.png"]
    await store.put_bytes("file.png", b"own", "image/png")
    assert (outside / "secret.png").read_bytes() == b"secret"


async def test_a_full_disk_refuses_and_still_reads_and_deletes(store: ObjectStore) -> None:
    await store.put_bytes(KEY, b"kept", "image/png")
    with no_file_larger_than(100_000):
        with pytest.raises(StorageFull):
            await store.put_bytes("big.png", bytes(1_000_000), "image/png")
        await store.check()
        async with store.open(KEY) as reader:
            assert await reader.read() == b"kept"
        await store.delete(KEY)
    assert await store.stat("big.png") is None
    assert not list(store.spool.iterdir())


async def test_without_its_folder_it_is_not_ready(store: ObjectStore, root: Path) -> None:
    shutil.rmtree(root)
    with pytest.raises(DependencyDown):
        await store.check()


async def test_what_a_living_process_writes_is_never_cleared(store: ObjectStore) -> None:
    sink = SpoolSink(store.spool)
    await sink.write(b"slow")
    path = await sink.finish()
    assert await store.clear_stale(older_than_s=-1) == 0
    assert path.exists()
    await sink.discard()


async def test_a_copy_survives_a_clearing_at_the_same_time(store: ObjectStore) -> None:
    await store.put_bytes("from.png", b"old", "image/png")

    async def clear() -> None:
        for _ in range(50):
            await store.clear_stale(older_than_s=-1)

    clearing = asyncio.create_task(clear())
    for number in range(50):
        await store.copy("from.png", f"to/{number}.png")
    await clearing
    assert len([facts async for facts in store.list("to/")]) == 50


async def test_a_folder_of_many_files_is_listed_in_pages(store: ObjectStore, root: Path) -> None:
    (root / "many").mkdir()
    names = [f"{number:05}.png" for number in range(10_050)]
    for name in names:
        (root / "many" / name).touch()
    assert [facts.key async for facts in store.list("many/")] == [f"many/{name}" for name in names]
