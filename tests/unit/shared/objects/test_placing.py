from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.objects import InvalidKey, placing
from shared.objects.disk import DiskObjectStore
from shared.objects.disk_tree import DiskTree
from shared.objects.placing import REST_AFTER_SLOW_S, Placing

KEYS = {"jpg": "pet-images/a.jpg", "png": "pet-images/a.png"}


@pytest.fixture
def store(tmp_path: Path) -> DiskObjectStore:
    (tmp_path / "objects").mkdir()
    (tmp_path / "spool").mkdir()
    return DiskObjectStore(tmp_path / "objects", tmp_path / "spool")


@pytest.fixture
def place(store: DiskObjectStore) -> Placing:
    """What a worker gets, the way it gets it."""
    copied: Placing = pickle.loads(pickle.dumps(store.placing(KEYS)))  # noqa: S301 - made a moment ago
    return copied


@pytest.fixture
def source(store: DiskObjectStore) -> Path:
    path = store.spool / "made"
    path.write_bytes(b"mine")
    return path


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the disk's promptness is measured with; it goes on by hand."""
    clock = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(placing, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    monkeypatch.setattr(placing._Placings, "patient_until", 0.0)
    return clock


async def read(store: DiskObjectStore, key: str) -> bytes | None:
    if await store.stat(key) is None:
        return None
    async with store.open(key) as reader:
        return await reader.read()


async def test_a_file_is_placed_by_its_extension_and_keeps_its_old_name(
    store: DiskObjectStore, place: Placing, source: Path
) -> None:
    assert place.place(source, "png") == KEYS["png"]
    assert (await read(store, KEYS["png"]), await read(store, KEYS["jpg"])) == (b"mine", None)
    assert source.exists()


async def test_a_taken_key_stays_as_it_is_and_is_left_to_the_caller(
    store: DiskObjectStore, place: Placing, source: Path
) -> None:
    await store.put_bytes(KEYS["jpg"], b"another's", "image/jpeg")
    assert place.place(source, "jpg") is None
    place.undo(source)
    assert await read(store, KEYS["jpg"]) == b"another's"
    assert source.exists()


async def test_what_a_worker_placed_is_undone_and_nothing_else(
    store: DiskObjectStore, place: Placing, source: Path
) -> None:
    await store.put_bytes(KEYS["png"], b"another's", "image/png")
    place.place(source, "jpg")
    place.undo(source)
    assert await read(store, KEYS["jpg"]) is None
    assert await read(store, KEYS["png"]) == b"another's"


async def test_there_is_nothing_to_undo_of_a_file_that_was_never_made(
    store: DiskObjectStore, place: Placing, source: Path
) -> None:
    source.unlink()
    place.undo(source)


async def test_a_slow_disk_is_left_to_the_caller_for_a_while(
    store: DiskObjectStore, place: Placing, source: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = DiskTree.place

    def slowly(*arguments: object, **options: bool) -> None:
        link(*arguments, **options)  # type: ignore[arg-type]
        clock.seconds += 1.0

    monkeypatch.setattr(DiskTree, "place", slowly)
    assert place.place(source, "jpg") == KEYS["jpg"]
    assert place.place(source, "png") is None
    clock.seconds += REST_AFTER_SLOW_S
    assert place.place(source, "png") == KEYS["png"]


async def test_a_disk_is_not_slow_because_others_had_the_processor(
    place: Placing, source: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = DiskTree.place

    def starved(*arguments: object, **options: bool) -> None:
        link(*arguments, **options)  # type: ignore[arg-type]
        clock.seconds += 1.0

    monkeypatch.setattr(DiskTree, "place", starved)
    monkeypatch.setattr(placing, "_starved_s", lambda: clock.seconds)
    assert place.place(source, "jpg") == KEYS["jpg"]
    assert place.place(source, "png") == KEYS["png"]


def test_a_key_that_cannot_be_used_is_refused_before_any_worker_sees_it(store: DiskObjectStore) -> None:
    with pytest.raises(InvalidKey):
        store.placing({"jpg": "../a.jpg"})


def test_a_folder_whose_name_is_durable_already_is_the_only_one_synced_until_it_is_another(
    store: DiskObjectStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)

    def synced_by(key: str) -> list[str]:
        synced.clear()
        assert store.placing({"jpg": key}).place(source, "jpg") == key
        return list(synced)

    whole_way = [source.name, "photos", "ann", "objects"]
    assert synced_by("ann/photos/1.jpg") == whole_way
    assert synced_by("ann/photos/2.jpg") == [source.name, "photos"]
    assert synced_by("ann/3.jpg") == [source.name, "ann"]
    for number in (1, 2):
        store.placing({"jpg": f"ann/photos/{number}.jpg"}).undo(source)
    assert synced_by("ann/photos/1.jpg") == [source.name, "photos", "ann"]
