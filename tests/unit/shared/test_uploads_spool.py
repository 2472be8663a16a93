import asyncio
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from shared.concurrency import inline_io
from shared.errors import DependencyDown, StorageFull
from shared.uploads import MemorySink, SpoolSink, clear_stale_spool
from tests.support.file_size import no_file_larger_than
from tests.unit.shared.forms import left_in


class CountingExecutor(ThreadPoolExecutor):
    submitted = 0

    def submit(self, *args, **options) -> Future[Any]:
        self.submitted += 1
        return super().submit(*args, **options)


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    limit = 300_000
    with no_file_larger_than(limit):
        yield limit


async def test_a_file_is_written_without_a_trip_to_a_thread_while_the_disk_is_prompt(tmp_path, monkeypatch):
    monkeypatch.setattr(inline_io, "PROMPT_S", float("inf"))  # however busy this machine is
    monkeypatch.setattr(inline_io._Disk, "threads_until", 0.0)
    executor = CountingExecutor()
    asyncio.get_running_loop().set_default_executor(executor)
    sink = SpoolSink(tmp_path)
    for _ in range(10):
        await sink.write(bytes(5000))
    path = await sink.finish()
    assert path.stat().st_size == 50_000
    path.rename(tmp_path / "kept")
    await sink.discard()
    assert executor.submitted == 0


async def test_a_spool_file_is_private(tmp_path):
    sink = SpoolSink(tmp_path)
    await sink.write(b"x")
    path = await sink.finish()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await sink.discard()
    assert not left_in(tmp_path)


async def test_discarding_twice_or_before_a_byte_is_harmless(tmp_path):
    sink = SpoolSink(tmp_path)
    await sink.discard()
    await sink.write(b"x")
    await sink.finish()
    await sink.discard()
    await sink.discard()
    assert not left_in(tmp_path)


async def test_a_file_that_arrives_as_one_chunk_is_not_copied_in_memory():
    sink = MemorySink()
    chunk = os.urandom(50_000)
    await sink.write(chunk)
    assert await sink.finish() is chunk


async def test_a_missing_folder_is_storage_that_is_down(tmp_path):
    sink = SpoolSink(tmp_path / "none")
    await sink.write(b"x")
    with pytest.raises(DependencyDown) as raised:
        await sink.finish()
    assert raised.value.code == "storage_unavailable"
    await sink.discard()


async def test_no_room_is_storage_full_and_leaves_nothing(tmp_path, file_size_limit):
    sink = SpoolSink(tmp_path)
    await sink.write(bytes(file_size_limit - 10))
    with pytest.raises(StorageFull):
        await sink.write(bytes(file_size_limit))
    await sink.discard()
    assert not left_in(tmp_path)


async def test_a_cancelled_write_leaves_nothing_however_often_it_is_cancelled(tmp_path):
    async def spool() -> None:
        sink = SpoolSink(tmp_path)
        try:
            while True:
                await sink.write(bytes(2**20))
        finally:
            await sink.discard()

    tasks = [asyncio.create_task(spool()) for _ in range(8)]
    for number, task in enumerate(tasks):
        await asyncio.sleep(0.002 * number)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert not left_in(tmp_path)


def make_old(path):
    long_ago = time.time() - 120
    os.utime(path, (long_ago, long_ago))


async def test_what_a_killed_process_left_is_cleared_once_it_is_old(tmp_path):
    script = (
        "import asyncio, os, sys\nfrom pathlib import Path\nfrom shared.uploads import SpoolSink\n"
        "async def main():\n    sink = SpoolSink(Path(sys.argv[1]))\n    await sink.write(b'x')\n"
        "    await sink.finish()\n    os._exit(0)\nasyncio.run(main())"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)
    (left,) = tmp_path.iterdir()
    assert clear_stale_spool(tmp_path) == 0
    make_old(left)
    assert clear_stale_spool(tmp_path) == 1
    assert not left_in(tmp_path)


async def test_what_a_living_process_holds_is_never_cleared(tmp_path):
    sink = SpoolSink(tmp_path)
    await sink.write(b"x")
    path = await sink.finish()
    make_old(path)
    assert clear_stale_spool(tmp_path) == 0
    assert path.read_bytes() == b"x"
    await sink.discard()


def test_only_spool_files_are_cleared_and_no_link_is_followed(tmp_path):
    other = tmp_path / "photo.jpg"
    other.touch()
    make_old(other)
    link = tmp_path / "spool-link"
    link.symlink_to(other)
    long_ago = time.time() - 120
    os.utime(link, (long_ago, long_ago), follow_symlinks=False)
    assert clear_stale_spool(tmp_path) == 0
    assert other.exists()
