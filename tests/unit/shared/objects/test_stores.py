from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.errors import DependencyDown
from shared.objects import InvalidKey, ObjectExists, ObjectNotFound, ObjectStore
from shared.settings import StorageSettings

BIG = random.Random(1).randbytes(3 * 1024 * 1024 + 17)
Spooled = Callable[[bytes], Path]


async def _read(store: ObjectStore, key: str, *, start: int = 0, length: int | None = None) -> bytes:
    async with store.open(key, start=start, length=length) as reader:
        return await reader.read()


async def _keys(store: ObjectStore, prefix: str = "", after: str = "", limit: int | None = None) -> list[str]:
    return [facts.key async for facts in store.list(prefix, after=after, limit=limit)]


@pytest.mark.parametrize("settings_of", ["local", "s3", "r2"], indirect=True)
class TestEveryStore:
    async def test_what_was_put_is_read_back(self, store: ObjectStore, spooled: Spooled) -> None:
        path = spooled(BIG)
        await store.put_file("a/b/c.png", path, content_type="image/png", sha256=hashlib.sha256(BIG).hexdigest())
        assert await _read(store, "a/b/c.png") == BIG
        assert not list(store.spool.iterdir())

    async def test_the_facts_are_true(self, store: ObjectStore, spooled: Spooled) -> None:
        await store.put_file("x/photo.webp", spooled(BIG), content_type="image/webp")
        facts = await store.stat("x/photo.webp")
        assert facts is not None
        assert (facts.key, facts.size, facts.content_type) == ("x/photo.webp", len(BIG), "image/webp")
        assert facts.etag
        assert '"' not in facts.etag
        assert abs(facts.last_modified - datetime.now(UTC)) < timedelta(minutes=2)
        async with store.open("x/photo.webp") as reader:
            assert reader.facts == facts
        assert [listed async for listed in store.list("x/")] == [facts]

    async def test_what_is_not_there_is_not_found(self, store: ObjectStore) -> None:
        assert await store.stat("no/thing.png") is None
        with pytest.raises(ObjectNotFound):
            await _read(store, "no/thing.png")
        with pytest.raises(ObjectNotFound):
            await _read(store, "no/thing.png", length=0)
        with pytest.raises(ObjectNotFound):
            await store.copy("no/thing.png", "other/thing.png")
        assert await _keys(store, "no/") == []

    async def test_a_folder_of_objects_is_no_object(self, store: ObjectStore) -> None:
        await store.put_bytes("folder/a.json", b"{}", "application/json")
        assert await store.stat("folder") is None
        assert await store.stat("folder/a.json/b.json") is None
        with pytest.raises(ObjectNotFound):
            await _read(store, "folder")
        with pytest.raises(ObjectNotFound):
            await _read(store, "folder/a.json/b.json")
        with pytest.raises(ObjectNotFound):
            await store.copy("folder", "elsewhere")
        await store.delete("folder")
        await store.delete("folder/a.json/b.json")
        assert await _keys(store) == ["folder/a.json"]

    async def test_a_part_is_read(self, store: ObjectStore) -> None:
        end = len(BIG)
        await store.put_bytes("part.jpg", BIG, "image/jpeg")
        for start, length in (
            (0, 10),
            (5, 1),
            (5, 0),
            (300_000, None),
            (262_143, 262_146),
            (end - 1, 5),
            (end, 1),
            (end + 9, 3),
        ):
            async with store.open("part.jpg", start=start, length=length) as reader:
                assert reader.facts.size == end
                assert await reader.read() == BIG[start:][:length]

    async def test_an_empty_object_can_be_kept_and_read(self, store: ObjectStore, spooled: Spooled) -> None:
        await store.put_file("empty.png", spooled(b""), content_type="image/png")
        assert await _read(store, "empty.png") == b""
        assert await _read(store, "empty.png", length=4) == b""

    async def test_a_later_put_replaces(self, store: ObjectStore, spooled: Spooled) -> None:
        await store.put_bytes("k.json", b"one", "application/json")
        first = await store.stat("k.json")
        await store.put_file("k.json", spooled(b"three"), content_type="application/json")
        second = await store.stat("k.json")
        assert await _read(store, "k.json") == b"three"
        assert first is not None
        assert second is not None
        assert first.etag != second.etag

    async def test_a_taken_key_is_refused_and_the_file_stays_the_callers(
        self, store: ObjectStore, spooled: Spooled
    ) -> None:
        await store.put_file("k.png", spooled(b"first"), content_type="image/png", if_absent=True)
        path = spooled(b"second")
        with pytest.raises(ObjectExists):
            await store.put_file("k.png", path, content_type="image/png", if_absent=True)
        assert await _read(store, "k.png") == b"first"
        assert path.read_bytes() == b"second"
        await store.put_file("other.png", path, content_type="image/png", if_absent=True)
        assert not list(store.spool.iterdir())

    async def test_of_many_puts_at_an_absent_key_one_wins(self, store: ObjectStore, spooled: Spooled) -> None:
        async def put(number: int) -> bool:
            try:
                await store.put_file(
                    "race/k.png", spooled(b"%d" % number * 1000), content_type="image/png", if_absent=True
                )
            except ObjectExists:
                return False
            return True

        won = await asyncio.gather(*map(put, range(8)))
        assert won.count(True) == 1
        assert await _read(store, "race/k.png") == b"%d" % won.index(True) * 1000

    async def test_of_many_puts_at_one_key_one_wins_whole(self, store: ObjectStore, spooled: Spooled) -> None:
        contents = [bytes([number]) * 300_000 for number in range(6)]
        await asyncio.gather(
            *(store.put_file("race/k.png", spooled(content), content_type="image/png") for content in contents)
        )
        assert await _read(store, "race/k.png") in contents

    async def test_who_began_to_read_reads_to_the_end(self, store: ObjectStore, spooled: Spooled) -> None:
        await store.put_file("k.png", spooled(BIG), content_type="image/png")
        async with store.open("k.png") as reader:
            read = await anext(reader.chunks)
            await store.delete("k.png")
            await store.put_bytes("k.png", b"another", "image/png")
            read += await reader.read()
        assert read == BIG

    async def test_a_reader_may_stop_early(self, store: ObjectStore, spooled: Spooled) -> None:
        await store.put_file("k.png", spooled(BIG), content_type="image/png")
        for _ in range(3):
            async with store.open("k.png") as reader:
                await anext(reader.chunks)
        assert await _read(store, "k.png") == BIG

    async def test_deleting_twice_is_the_same_as_once(self, store: ObjectStore) -> None:
        await store.put_bytes("a/k.png", b"x", "image/png")
        await store.delete("a/k.png")
        await store.delete("a/k.png")
        assert await store.stat("a/k.png") is None
        assert await _keys(store) == []

    async def test_a_prefix_takes_no_sibling_with_it(self, store: ObjectStore) -> None:
        for key in ("u/bob/1.png", "u/bob/deep/2.png", "u/bobby/3.png", "u/bob.png", "u/bo/4.png"):
            await store.put_bytes(key, b"x", "image/png")
        await store.delete_prefix("u/bob/")
        await store.delete_prefix("u/nobody/")
        assert await _keys(store) == ["u/bo/4.png", "u/bob.png", "u/bobby/3.png"]

    async def test_a_prefix_without_its_slash_is_refused(self, store: ObjectStore) -> None:
        for prefix in ("u", "", "/", "../", "u//"):
            with pytest.raises(InvalidKey):
                await store.delete_prefix(prefix)
        with pytest.raises(InvalidKey):
            await _keys(store, "u")

    async def test_a_list_is_ordered_by_key_and_can_be_taken_up_again(self, store: ObjectStore) -> None:
        keys = sorted(
            f"l/{name}" for name in ("a", "a-b", "a.b", "a0", "b/c", "b/c-d", "b/d/e", "b-c", "b0", "z", "B/x")
        )
        for key in random.Random(2).sample(keys, len(keys)):
            if key != "l/a":
                await store.put_bytes(key, b"x", "image/png")
        keys.remove("l/a")
        assert await _keys(store, "l/") == keys
        assert await _keys(store) == keys
        for index, key in enumerate(keys):
            assert await _keys(store, "l/", after=key) == keys[index + 1 :]
            assert await _keys(store, "", after=key, limit=2) == keys[index + 1 :][:2]
        assert await _keys(store, "l/b/", after="l/b/c") == ["l/b/c-d", "l/b/d/e"]
        assert await _keys(store, "l/", limit=0) == []

    async def test_a_copy_is_independent_of_its_source(self, store: ObjectStore) -> None:
        await store.put_bytes("temp/a.png", b"bytes", "image/png")
        await store.copy("temp/a.png", "events/b.png")
        await store.copy("temp/a.png", "events/b.png")
        await store.put_bytes("temp/a.png", b"changed", "image/png")
        await store.delete("temp/a.png")
        facts = await store.stat("events/b.png")
        assert facts is not None
        assert facts.content_type == "image/png"
        assert await _read(store, "events/b.png") == b"bytes"
        assert not list(store.spool.iterdir())

    async def test_a_broken_source_leaves_nothing(self, store: ObjectStore) -> None:
        with pytest.raises(DependencyDown):
            await store.put_file("k.png", store.spool / "missing", content_type="image/png")
        with pytest.raises(DependencyDown):
            await store.put_file("k.png", store.spool / "missing", content_type="image/png", if_absent=True)
        assert await _keys(store) == []

    async def test_a_cancelled_put_is_whole_or_absent(self, store: ObjectStore, spooled: Spooled) -> None:
        for steps in (0, 1, 2, 3, 5, 8, 13, 21, 34):
            path = spooled(BIG)
            task = asyncio.create_task(store.put_file("k.png", path, content_type="image/png"))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            path.unlink(missing_ok=True)
            if await store.stat("k.png") is not None:
                assert await _read(store, "k.png") == BIG
            assert not list(store.spool.iterdir())
            await store.delete("k.png")

    @pytest.mark.parametrize("steps", [0, 2, 5])
    async def test_cancelled_calls_leave_nothing_temporary(self, store: ObjectStore, steps: int) -> None:
        await store.put_bytes("from.png", BIG, "image/png")
        for call in (
            store.put_bytes("k.png", BIG, "image/png"),
            store.copy("from.png", "to.png"),
            _read(store, "from.png"),
        ):
            task = asyncio.create_task(call)
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        assert not list(store.spool.iterdir())
        for key in await _keys(store):
            assert await _read(store, key) == BIG

    async def test_puts_and_deletes_in_one_folder_do_not_disturb_each_other(
        self, store: ObjectStore, spooled: Spooled
    ) -> None:
        async def come_and_go(number: int) -> None:
            for _ in range(10):
                await store.put_file(f"d/e/{number}.png", spooled(b"x"), content_type="image/png", if_absent=True)
                await store.delete(f"d/e/{number}.png")

        await asyncio.gather(*map(come_and_go, range(4)))
        assert await _keys(store) == []

    async def test_a_malformed_key_is_refused_by_every_call(self, store: ObjectStore, spooled: Spooled) -> None:
        path = spooled(b"x")
        for key in (
            "../etc/passwd",
            "/abs",
            "a//b",
            "a/./b",
            "a\\b",
            "ä",
            "a\x00",
            "a\n",
            "",
            "a/",
            "x" * 901,
            "y" * 256,
        ):
            for call in (
                store.put_file(key, path, content_type="image/png"),
                store.put_bytes(key, b"x", "image/png"),
                store.stat(key),
                store.delete(key),
                store.copy(key, "a"),
                store.copy("a", key),
                _read(store, key),
            ):
                with pytest.raises(InvalidKey):
                    await call
            with pytest.raises(InvalidKey):
                store.local_path(key)
        assert path.exists()

    async def test_it_is_ready(self, store: ObjectStore) -> None:
        await store.check()

    async def test_what_a_killed_process_left_is_cleared(
        self, store: ObjectStore, spooled: Spooled, settings_of: StorageSettings
    ) -> None:
        spooled(b"half an upl")
        assert await store.clear_stale() == 0
        assert await store.clear_stale(older_than_s=-1) == 1
        assert not list(settings_of.data_dir.joinpath("spool").iterdir())
