from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from services.temp_image.adapters.disk.folders import make_folders
from services.temp_image.adapters.disk.store import DiskImageStore
from services.temp_image.adapters.disk.sweep import FILES_PER_PASS
from tests.support import pictures
from tests.unit.services.temp_image.stores import HOUR_S, DiskStores, keep

IMAGE = pictures.jpeg()


@pytest.fixture
def stores(tmp_path: Path) -> DiskStores:
    """A store that nothing sweeps in the background."""
    make_folders(tmp_path)
    stores = DiskStores(tmp_path)
    stores.store = DiskImageStore(tmp_path, stores.now)
    return stores


def write(path: Path, content: bytes, age_s: float) -> None:
    path.write_bytes(content)
    os.utime(path, (time.time() - age_s,) * 2)


async def test_what_is_due_is_removed_and_what_is_not_stays(stores: DiskStores) -> None:
    for _ in range(3):
        await keep(stores, IMAGE, ttl_s=10)
    kept = await keep(stores, IMAGE, ttl_s=HOUR_S)
    await stores.pass_time(11)
    assert stores.sweeper().sweep() == 3
    await stores.store.describe(kept)


async def test_a_half_written_image_is_removed_once_no_byte_was_added_for_a_minute(stores: DiskStores) -> None:
    whole = stores.folder / "ab" / ("ab" * 16)
    for content in (b"", b"x" * 10, b"x" * 1000):
        write(whole, content, age_s=50)
        stores.sweeper().sweep()
        assert whole.exists()
        write(whole, content, age_s=61)
        stores.sweeper().sweep()
        assert not whole.exists()


async def test_what_a_living_process_writes_is_left_alone(stores: DiskStores) -> None:
    path = stores.folder / "cd" / ("cd" * 16)
    write(path, b"half", age_s=600)
    with path.open("rb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        stores.sweeper().sweep()
        assert path.exists()
    stores.sweeper().sweep()
    assert not path.exists()


async def test_a_half_written_image_is_never_given_out(stores: DiskStores) -> None:
    image_id = await keep(stores, IMAGE)
    path = stores.folder / image_id[:2] / image_id
    path.write_bytes(path.read_bytes()[:-1])
    assert await stores.leftovers() != []
    with pytest.raises(Exception, match="not found"):
        await stores.store.describe(image_id)


async def test_holds_without_their_image_are_removed(stores: DiskStores) -> None:
    image_id = await keep(stores, IMAGE)
    await stores.store.hold(image_id, "cs_1", stores.now() + HOUR_S)
    (stores.folder / image_id[:2] / image_id).unlink()
    assert await stores.leftovers() == []


async def test_one_pass_looks_at_a_bounded_number_of_files(stores: DiskStores) -> None:
    many = FILES_PER_PASS // 100 * 3
    for first in range(256):
        for number in range(many):
            (stores.folder / f"{first:02x}" / f"{first:02x}{number:030x}").touch()
    for path in stores.folder.glob("??/*"):
        os.utime(path, (time.time() - 100,) * 2)
    sweeper = stores.sweeper()
    first = sweeper.sweep()
    assert FILES_PER_PASS <= first < FILES_PER_PASS + many
    passes = 1
    while sweeper.sweep():
        passes += 1
    assert passes <= 256 * many / FILES_PER_PASS + 1
    assert await stores.leftovers() == []
