"""Images that are gone while somebody still reads, opens or makes a file: nobody sees another's, and nothing stays."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.temp_image.adapters.disk import open_disk_store
from services.temp_image.adapters.disk.folders import make_folders
from services.temp_image.adapters.disk.store import DiskImageStore
from services.temp_image.adapters.disk.sweep import Sweeper
from services.temp_image.model import ImageContent, ImageGone, new_secret
from shared.concurrency import inline_io
from shared.errors import StorageFull
from tests.support.file_size import no_file_larger_than
from tests.unit.services.temp_image.stores import HOUR_S, eventually

SMALL, LARGE = 50_000, 700_000  # in memory while it arrives, in the spool


class Folder:
    """A folder of images that nothing sweeps, and the stores of any number of processes in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ahead_s = 0.0
        self.dice = random.Random(7)
        make_folders(path)
        self.store = self.another_store()

    def another_store(self) -> DiskImageStore:
        return DiskImageStore(self.path, self.now)

    def now(self) -> float:
        return time.time() + self.ahead_s

    def files(self) -> list[Path]:
        return [path for path in self.path.rglob("*") if path.is_file()]

    def image(self, size: int) -> bytes:
        return self.dice.randbytes(size)

    async def keep(self, image: bytes, store: DiskImageStore | None = None) -> str:
        store, image_id = store or self.store, uuid4().hex
        sink = store.open_sink()
        try:
            for start in range(0, len(image), 100_000):
                await sink.write(image[start : start + 100_000])
            content = await sink.finish()
            await store.put(image_id, content, expires_at=self.now() + HOUR_S, check=lambda _: None)
        finally:
            await sink.discard()
        return image_id

    async def use_up(self, image_id: str, store: DiskImageStore | None = None) -> bytes:
        """Retrieve the image as its one reader does."""
        store, claim = store or self.store, new_secret()
        got = await store.claim(image_id, claim)
        image = bytes(got.content)
        got.release()
        await store.confirm(image_id, claim)
        return image


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def other(folder: Folder) -> DiskImageStore:
    """The store of a second process; a lock or a map of its files is as foreign to the first as a process's."""
    return folder.another_store()


@pytest.fixture(params=["in place", "in threads"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is prompt, and one that stalled."""
    monkeypatch.setattr(inline_io._Disk, "threads_until", 0.0 if request.param == "in place" else float("inf"))


class TestFiles:
    @pytest.mark.parametrize("size", [SMALL, LARGE])
    async def test_a_retrieved_image_leaves_no_file(self, folder: Folder, size: int) -> None:
        for _ in range(5):
            await folder.use_up(await folder.keep(folder.image(size)))
            assert not folder.files()

    @pytest.mark.parametrize("size", [SMALL, LARGE])
    async def test_a_file_is_private(self, folder: Folder, size: int) -> None:
        await folder.keep(folder.image(size))
        assert [path.stat().st_mode & 0o777 for path in folder.files()] == [0o600]

    async def test_images_of_all_sizes_come_back_as_they_were_in_whatever_order(
        self, folder: Folder, disk: None
    ) -> None:
        sizes = [1, 100, 4000, 50_000, 256 * 1024, 256 * 1024 + 1, 300_000, 1_000_000]
        kept: dict[str, bytes] = {}
        for _ in range(300):
            if not kept or (len(kept) < 20 and folder.dice.random() < 0.5):
                image = folder.image(folder.dice.choice(sizes))
                kept[await folder.keep(image)] = image
            else:
                image_id = folder.dice.choice(list(kept))
                assert await folder.use_up(image_id) == kept.pop(image_id)
                with pytest.raises(ImageGone):
                    await folder.store.describe(image_id)
        for image_id, image in kept.items():
            assert await folder.use_up(image_id) == image
        assert not folder.files()

    async def test_an_upload_that_is_given_up_leaves_nothing(self, folder: Folder) -> None:
        sink = folder.store.open_sink()
        await sink.write(folder.image(LARGE))
        assert folder.files()
        await sink.discard()
        assert not folder.files()

    @pytest.mark.parametrize(("size", "limit"), [(SMALL, 20_000), (LARGE, 300_000), (LARGE, 20_000)])
    async def test_an_upload_that_finds_no_room_leaves_nothing(
        self, folder: Folder, disk: None, size: int, limit: int
    ) -> None:
        with no_file_larger_than(limit), pytest.raises(StorageFull):
            await folder.keep(folder.image(size))
        assert not folder.files()


class TestSweeping:
    async def test_a_sweep_that_is_under_way_when_the_store_closes_ends_first(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started, sweep = threading.Event(), Sweeper.sweep

        def slowly(sweeper: Sweeper) -> int:
            started.set()
            time.sleep(0.1)
            return sweep(sweeper)

        await folder.keep(folder.image(SMALL))
        folder.ahead_s = HOUR_S + 1
        descriptors = _descriptors()
        monkeypatch.setattr(Sweeper, "sweep", slowly)
        async with open_disk_store(folder.path, folder.now):
            await eventually(started.is_set)
        assert [path.name for path in folder.files()] == ["sweep.lock"]
        assert _descriptors() == descriptors

    async def test_a_sweeper_who_looks_at_a_file_in_the_moment_it_is_made_does_not_fail_the_upload(
        self, folder: Folder, disk: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image, system_flock = folder.image(SMALL), fcntl.flock
        looks: list[int] = []

        def flock(descriptor: int, operation: int) -> None:
            if not looks:
                looks.append(os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR))
                system_flock(looks[0], fcntl.LOCK_EX)
                threading.Timer(0.01, os.close, looks).start()
            system_flock(descriptor, operation)

        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", flock)
            image_id = await folder.keep(image)
        assert looks
        assert await folder.use_up(image_id) == image


class TestReadersOfWhatIsGone:
    @pytest.mark.parametrize("used_up_by", ["the same process", "another"])
    async def test_a_slow_transfer_whose_claim_lapsed_sends_its_own_image_to_the_end(
        self, folder: Folder, other: DiskImageStore, used_up_by: str
    ) -> None:
        image = folder.image(LARGE)
        image_id = await folder.keep(image)
        slow = await folder.store.claim(image_id, new_secret())
        folder.ahead_s += 31
        await folder.use_up(image_id, folder.store if used_up_by == "the same process" else other)
        assert not folder.files()
        for store in (folder.store, other) * 5:
            for size in (SMALL, LARGE):
                await folder.use_up(await folder.keep(folder.image(size), store), store)
        assert bytes(slow.content) == image
        slow.release()

    async def test_a_holder_who_still_reads_has_the_image_to_the_end(
        self, folder: Folder, other: DiskImageStore
    ) -> None:
        image = folder.image(LARGE)
        image_id = await folder.keep(image)
        await folder.store.hold(image_id, "cs_1", folder.now() + HOUR_S)
        await folder.use_up(image_id)
        read = await other.read_held(image_id, "cs_1")
        await folder.store.release_hold(image_id, "cs_1")
        assert not folder.files()
        await folder.keep(folder.image(LARGE))
        assert bytes(read.content) == image
        read.release()

    @pytest.mark.parametrize("call", ["describe", "claim", "hold", "read_held"])
    async def test_who_waits_for_the_lock_of_an_image_that_goes_finds_it_gone(
        self, folder: Folder, other: DiskImageStore, call: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inline_io._Disk, "threads_until", float("inf"))
        image_id, image = await folder.keep(folder.image(SMALL)), folder.image(SMALL)
        path = folder.path / image_id[:2] / image_id
        with folder.store._opened(image_id) as going:
            waiting = asyncio.create_task(_calls(other, image_id)[call]())
            await eventually(lambda: _descriptors().count(str(path)) == 2)
            going.remove()
        next_id = await folder.keep(image)
        with pytest.raises(ImageGone):
            await waiting
        assert await folder.use_up(next_id) == image

    async def test_of_two_processes_under_load_each_image_comes_back_once_and_as_it_was(
        self, folder: Folder, other: DiskImageStore, disk: None
    ) -> None:
        stores, delivered = (folder.store, other), []

        async def retrieve(image_id: str, image: bytes, number: int) -> None:
            store, claim = folder.dice.choice(stores), new_secret()
            while True:
                try:
                    got = await store.claim(image_id, claim)
                except ImageGone:
                    return
                assert bytes(got.content) == image
                got.release()
                if number % 3:
                    await store.confirm(image_id, claim)
                    delivered.append(image_id)
                    return
                await store.release(image_id, claim)
                await asyncio.sleep(0)
                number += 1

        async def describe(image_id: str, image: bytes) -> None:
            store = folder.dice.choice(stores)
            for _ in range(4):
                try:
                    assert (await store.describe(image_id)).size == len(image)
                except ImageGone:
                    await asyncio.sleep(0)

        async def visit(number: int) -> str:
            image = folder.image(folder.dice.choice([100, 3000, SMALL, SMALL, 300_000, LARGE]) + number)
            image_id = await folder.keep(image, folder.dice.choice(stores))
            await asyncio.gather(
                *(retrieve(image_id, image, number + rival) for rival in range(3)), describe(image_id, image)
            )
            # Where all three came while one of them had claimed it and gave it back.
            await retrieve(image_id, image, 1)
            return image_id

        async def visits(first: int) -> list[str]:
            return [await visit(number) for number in range(first, 300, 10)]

        visited = await asyncio.gather(*map(visits, range(10)))
        assert sorted(delivered) == sorted(image_id for some in visited for image_id in some)
        assert not folder.files()


def _calls(store: DiskImageStore, image_id: str) -> dict[str, Callable[[], Coroutine[Any, Any, object]]]:
    async def claim() -> ImageContent:
        return await store.claim(image_id, new_secret())

    return {
        "describe": lambda: store.describe(image_id),
        "claim": claim,
        "hold": lambda: store.hold(image_id, "cs_1", time.time() + HOUR_S),
        "read_held": lambda: store.read_held(image_id, "cs_1"),
    }


def _descriptors() -> list[str]:
    """List what this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one of the listing itself
            found.append(str(link.readlink()))
    return sorted(found)
