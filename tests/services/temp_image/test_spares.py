"""The files of images that are gone: kept for the next uploads under load, and never seen as what they were."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from services.temp_image.adapters.disk import open_disk_store, spare
from services.temp_image.adapters.disk.store import DiskImageStore, make_folders
from services.temp_image.adapters.disk.sweep import Sweeper
from services.temp_image.model import ImageContent, ImageGone, new_secret
from shared import promptly
from shared.errors import StorageFull
from shared.uploads import clear_stale_spool
from tests.plugins.file_size import no_file_larger_than
from tests.services.temp_image.stores import HOUR_S, eventually

ROOT = Path(__file__).parents[3]
SMALL, LARGE = 50_000, 700_000  # in memory while it arrives, in the spool


class Folder:
    """A folder of images that nothing sweeps, and the stores of any number of processes in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ahead_s = 0.0
        self.dice = random.Random(7)
        self._stores: list[DiskImageStore] = []
        make_folders(path)
        self.store = self.another_store()

    def another_store(self) -> DiskImageStore:
        self._stores.append(DiskImageStore(self.path, self.now))
        return self._stores[-1]

    def now(self) -> float:
        return time.time() + self.ahead_s

    def close(self) -> None:
        for store in self._stores:
            store.spares.trim(kept_s=0)

    def files(self) -> list[Path]:
        return [path for path in self.path.rglob("*") if path.is_file()]

    def spares(self) -> list[Path]:
        return list((self.path / "spool").iterdir())

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

    async def make_spares(self, number: int, size: int = SMALL) -> None:
        for image_id in [await self.keep(self.image(size)) for _ in range(number)]:
            await self.use_up(image_id)


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Folder]:
    """A folder with as little to do as in most tests."""
    folder = Folder(tmp_path)
    yield folder
    folder.close()


@pytest.fixture
def busy(quiet: Folder, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder that is under load from the first image on."""
    monkeypatch.setattr(spare, "BUSY_PER_S", 0)
    return quiet


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the spares take for the time; it goes on by hand."""
    clock = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(spare, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    return clock


@pytest.fixture(params=["in place", "in threads"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is prompt, and one that stalled."""
    monkeypatch.setattr(promptly._Disk, "threads_until", 0.0 if request.param == "in place" else float("inf"))


def make_old(path: Path) -> None:
    os.utime(path, (time.time() - 120,) * 2)


class TestKeeping:
    @pytest.mark.parametrize("size", [SMALL, LARGE])
    async def test_where_little_happens_a_retrieved_image_leaves_no_file(self, quiet: Folder, size: int) -> None:
        for _ in range(5):
            await quiet.use_up(await quiet.keep(quiet.image(size)))
            assert not quiet.files()

    async def test_files_are_kept_from_the_401st_image_in_a_second_until_a_minute_after_the_last_such(
        self, quiet: Folder, clock: SimpleNamespace
    ) -> None:
        await quiet.make_spares(spare.BUSY_PER_S, size=100)
        assert not quiet.files()
        await quiet.make_spares(1)
        assert len(quiet.files()) == 1
        clock.seconds += 59
        await quiet.make_spares(2)
        assert len(quiet.files()) == 2  # one was taken, and made a spare again
        clock.seconds += 2
        await quiet.make_spares(1)
        assert len(quiet.files()) == 1

    async def test_fifty_images_in_each_second_are_no_load(self, quiet: Folder, clock: SimpleNamespace) -> None:
        for _ in range(3):
            await quiet.make_spares(spare.BUSY_PER_S, size=100)
            clock.seconds += 1
        assert not quiet.files()

    @pytest.mark.parametrize("size", [SMALL, LARGE])
    async def test_no_byte_of_the_image_stays_in_its_file(self, busy: Folder, size: int) -> None:
        await busy.make_spares(3, size)
        assert [path.stat().st_size for path in busy.files()] == [1, 1, 1]
        assert busy.files() == busy.spares()
        assert {path.read_bytes() for path in busy.spares()} == {b"t"}  # the first of every image's record

    async def test_the_next_upload_takes_a_file_that_is_there(self, busy: Folder) -> None:
        for size in (SMALL, LARGE):
            await busy.make_spares(1)
            (there,) = busy.files()
            number = there.stat().st_ino
            image_id = await busy.keep(busy.image(size))
            (kept,) = busy.files()
            assert (kept.name, kept.stat().st_ino) == (image_id, number)
            await busy.use_up(image_id)
            busy.store.spares.trim(kept_s=0)

    async def test_a_file_is_private_whatever_it_was(self, busy: Folder) -> None:
        await busy.make_spares(1)
        await busy.keep(busy.image(SMALL))
        assert [path.stat().st_mode & 0o777 for path in busy.files()] == [0o600]

    async def test_images_of_all_sizes_come_back_as_they_were_in_whatever_order(self, busy: Folder, disk: None) -> None:
        sizes = [1, 100, 4000, 50_000, 256 * 1024, 256 * 1024 + 1, 300_000, 1_000_000]
        kept: dict[str, bytes] = {}
        for _ in range(300):
            if not kept or (len(kept) < 20 and busy.dice.random() < 0.5):
                image = busy.image(busy.dice.choice(sizes))
                kept[await busy.keep(image)] = image
            else:
                image_id = busy.dice.choice(list(kept))
                assert await busy.use_up(image_id) == kept.pop(image_id)
                with pytest.raises(ImageGone):
                    await busy.store.describe(image_id)
        for image_id, image in kept.items():
            assert await busy.use_up(image_id) == image
        assert busy.files() == busy.spares()

    async def test_what_expired_becomes_a_spare_like_what_was_retrieved(self, busy: Folder) -> None:
        await busy.keep(busy.image(SMALL))
        busy.ahead_s = HOUR_S + 1
        assert Sweeper(busy.path, busy.store.spares, busy.now).sweep() == 1
        assert [path.stat().st_size for path in busy.spares()] == [1]

    async def test_an_upload_that_is_given_up_leaves_nothing_of_the_file_it_took(self, busy: Folder) -> None:
        await busy.make_spares(1)
        sink = busy.store.open_sink()
        await sink.write(busy.image(LARGE))
        assert not [path for path in busy.files() if path.stat().st_size == 1]
        await sink.discard()
        assert not busy.files()


class TestBounds:
    async def test_a_file_waits_for_a_minute_at_most(self, busy: Folder, clock: SimpleNamespace) -> None:
        await busy.make_spares(3)
        clock.seconds += spare.KEPT_S - 1
        early = await busy.keep(busy.image(SMALL))
        await busy.use_up(early)
        busy.store.spares.trim()
        assert len(busy.files()) == 3
        clock.seconds += 1
        busy.store.spares.trim()
        assert len(busy.files()) == 1  # the one that was taken meanwhile
        clock.seconds += spare.KEPT_S
        busy.store.spares.trim()
        assert not busy.files()

    async def test_a_store_that_closes_leaves_none(self, busy: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Sweeper, "sweep", lambda _: 0)  # it looks at files, which are then not made spares
        descriptors = _descriptors()
        async with open_disk_store(busy.path) as store:
            for image_id in [await busy.keep(busy.image(size), store) for size in (SMALL, LARGE, SMALL)]:
                await busy.use_up(image_id, store)
            assert len(busy.spares()) == 3
        assert [path.name for path in busy.files()] == ["sweep.lock"]
        assert _descriptors() == descriptors

    async def test_a_sweep_that_is_under_way_when_the_store_closes_leaves_none(
        self, busy: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started, sweep = threading.Event(), Sweeper.sweep

        def slowly(sweeper: Sweeper) -> int:
            started.set()
            time.sleep(0.1)
            return sweep(sweeper)

        await busy.keep(busy.image(SMALL))
        busy.ahead_s = HOUR_S + 1
        monkeypatch.setattr(Sweeper, "sweep", slowly)
        async with open_disk_store(busy.path, busy.now):
            await eventually(started.is_set)
        assert [path.name for path in busy.files()] == ["sweep.lock"]

    async def test_there_is_a_limit_to_their_number(self, busy: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spare, "MOST", 5)
        store = busy.another_store()
        for image_id in [await busy.keep(busy.image(100), store) for _ in range(9)]:
            await busy.use_up(image_id, store)
        assert len(busy.files()) == 5

    async def test_they_take_an_eighth_of_the_descriptors_at_most(self, busy: Folder) -> None:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (160, before[1]))
        try:
            store = busy.another_store()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for image_id in [await busy.keep(busy.image(100), store) for _ in range(30)]:
            await busy.use_up(image_id, store)
        assert len(busy.files()) == 20

    async def test_those_of_a_killed_process_are_swept_and_those_of_a_living_one_are_not(self, busy: Folder) -> None:
        await busy.make_spares(2)
        alive = busy.spares()
        script = (
            "import asyncio, os, sys\nfrom pathlib import Path\n"
            "from services.temp_image.adapters.disk import DiskImageStore, spare\n"
            "spare.BUSY_PER_S = 0\n"
            "async def main():\n"
            "    store, claim = DiskImageStore(Path(sys.argv[1])), 'cd' * 16\n"
            "    for image_id in ('ab' * 16, 'ef' * 16):\n"
            "        await store.put(image_id, bytes(1000), expires_at=2e9, check=len)\n"
            "    for image_id in ('ab' * 16, 'ef' * 16):\n"
            "        await store.claim(image_id, claim)\n"
            "        await store.confirm(image_id, claim)\n"
            "    os._exit(0)\n"
            "asyncio.run(main())"
        )
        subprocess.run([sys.executable, "-c", script, busy.path], check=True, cwd=ROOT)
        assert [path.stat().st_size for path in busy.files()] == [1, 1, 1, 1]
        for path in busy.files():
            make_old(path)
        assert clear_stale_spool(busy.path / "spool") == 2
        assert sorted(busy.files()) == sorted(alive)


class TestReadersOfWhatIsGone:
    @pytest.fixture
    def other(self, busy: Folder) -> DiskImageStore:
        """The store of a second process; a lock or a map of its files is as foreign to the first as a process's."""
        return busy.another_store()

    @pytest.mark.parametrize("used_up_by", ["the same process", "another"])
    async def test_a_slow_transfer_whose_claim_lapsed_sends_its_own_image_to_the_end(
        self, busy: Folder, other: DiskImageStore, used_up_by: str
    ) -> None:
        image = busy.image(LARGE)
        image_id = await busy.keep(image)
        slow = await busy.store.claim(image_id, new_secret())
        busy.ahead_s += 31
        await busy.use_up(image_id, busy.store if used_up_by == "the same process" else other)
        assert not busy.files()
        for store in (busy.store, other) * 5:
            for size in (SMALL, LARGE):
                await busy.use_up(await busy.keep(busy.image(size), store), store)
        assert bytes(slow.content) == image
        slow.release()

    async def test_a_holder_who_still_reads_has_the_image_to_the_end(self, busy: Folder, other: DiskImageStore) -> None:
        image = busy.image(LARGE)
        image_id = await busy.keep(image)
        await busy.store.hold(image_id, "cs_1", busy.now() + HOUR_S)
        await busy.use_up(image_id)
        read = await other.read_held(image_id, "cs_1")
        await busy.store.let_go(image_id, "cs_1")
        assert not busy.files()
        await busy.keep(busy.image(LARGE))
        assert bytes(read.content) == image
        read.release()

    @pytest.mark.parametrize("call", ["describe", "claim", "hold", "read_held"])
    async def test_who_waits_for_the_lock_of_an_image_that_goes_finds_it_gone(
        self, busy: Folder, other: DiskImageStore, call: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(promptly._Disk, "threads_until", float("inf"))
        image_id, image = await busy.keep(busy.image(SMALL)), busy.image(SMALL)
        path = busy.path / image_id[:2] / image_id
        with busy.store._opened(image_id) as going:
            waiting = asyncio.create_task(_calls(other, image_id)[call]())
            await eventually(lambda: _descriptors().count(str(path)) == 2)
            going.remove()
        next_id = await busy.keep(image)
        with pytest.raises(ImageGone):
            await waiting
        assert await busy.use_up(next_id) == image

    @pytest.mark.parametrize("call", ["describe", "claim", "hold", "read_held"])
    async def test_who_found_the_name_and_opens_the_file_only_when_it_is_the_next_images_finds_it_gone(
        self, busy: Folder, other: DiskImageStore, call: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The kernel looks the name up before it opens the file: here the next upload comes in between."""
        image_id, image = await busy.keep(busy.image(SMALL)), busy.image(SMALL)
        path = busy.path / image_id[:2] / image_id
        await busy.use_up(image_id)
        next_id = await busy.keep(image)
        next_path, system_open = busy.path / next_id[:2] / next_id, os.open

        def open_late(name: Any, *args: Any, **options: Any) -> int:
            return system_open(next_path if os.fspath(name) == str(path) else name, *args, **options)

        with monkeypatch.context() as patched:
            patched.setattr(os, "open", open_late)
            with pytest.raises(ImageGone):
                await _calls(other, image_id)[call]()
        assert await busy.use_up(next_id) == image

    async def test_of_two_processes_under_load_each_image_comes_back_once_and_as_it_was(
        self, busy: Folder, other: DiskImageStore, disk: None
    ) -> None:
        stores, delivered = (busy.store, other), []

        async def retrieve(image_id: str, image: bytes, number: int) -> None:
            store, claim = busy.dice.choice(stores), new_secret()
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
            store = busy.dice.choice(stores)
            for _ in range(4):
                try:
                    assert (await store.describe(image_id)).size == len(image)
                except ImageGone:
                    await asyncio.sleep(0)

        async def visit(number: int) -> str:
            image = busy.image(busy.dice.choice([100, 3000, SMALL, SMALL, 300_000, LARGE]) + number)
            image_id = await busy.keep(image, busy.dice.choice(stores))
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
        assert busy.files() == busy.spares()
        assert {path.stat().st_size for path in busy.files()} == {1}


def _calls(store: DiskImageStore, image_id: str) -> dict[str, Callable[[], Awaitable[object]]]:
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


class TestSystemsThatRefuse:
    async def test_without_leases_nothing_is_kept_and_all_works(
        self, busy: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> int:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        monkeypatch.setattr(fcntl, "fcntl", refuse)
        for size in (SMALL, LARGE, 100):
            image = busy.image(size)
            assert await busy.use_up(await busy.keep(image)) == image
            assert not busy.files()

    async def test_a_disk_without_room_for_one_more_name_lets_an_image_go_all_the_same(
        self, busy: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        image_id = await busy.keep(busy.image(SMALL))
        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", refuse)
            await busy.use_up(image_id)
        assert not busy.files()

    @pytest.mark.parametrize(("size", "limit"), [(SMALL, 20_000), (LARGE, 300_000), (LARGE, 20_000)])
    async def test_an_upload_that_finds_no_room_in_a_file_that_is_there_leaves_nothing(
        self, busy: Folder, disk: None, size: int, limit: int
    ) -> None:
        await busy.make_spares(1, size=1000)
        with no_file_larger_than(limit), pytest.raises(StorageFull):
            await busy.keep(busy.image(size))
        assert not busy.files()

    async def test_a_sweeper_who_looks_at_a_file_in_the_moment_it_is_made_does_not_fail_the_upload(
        self, quiet: Folder, disk: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image, system_flock, looks = quiet.image(SMALL), fcntl.flock, []

        def flock(descriptor: int, operation: int) -> None:
            if not looks:
                looks.append(os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR))
                system_flock(looks[0], fcntl.LOCK_EX)
                threading.Timer(0.01, os.close, looks).start()
            system_flock(descriptor, operation)

        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", flock)
            image_id = await quiet.keep(image)
        assert looks
        assert await quiet.use_up(image_id) == image
