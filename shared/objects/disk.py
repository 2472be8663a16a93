"""Objects as files: the layout below the root equals the keys."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import TypeVar

from shared.concurrency.background_tasks import to_its_end
from shared.errors import DependencyDown
from shared.objects.disk_tree import NO_SUCH_FILE, DiskTree, remove_emptied, remove_tree, walk
from shared.objects.object_keys import ObjectNotFound, content_type_of, require_key, require_prefix
from shared.objects.placing import Placing
from shared.objects.protocol import ObjectFacts, ObjectReader
from shared.tracing import span, traced
from shared.uploads.sinks import SpoolSink, clear_stale_spool, new_spool_path, storage_error

CHUNK_BYTES = 256 * 1024
LISTED_AT_ONCE = 500
# Most of their time they wait for a sync: 16 puts of 50 KB at once were 2600 a second with 32 threads, and 1400 with the
# loop's own 6, which have other work too.
THREADS = 32

ResultT = TypeVar("ResultT")


def _facts(key: str, status: os.stat_result) -> ObjectFacts:
    return ObjectFacts(
        key,
        status.st_size,
        content_type_of(key),
        # As aiohttp's FileResponse writes it: a file has one ETag, whoever sends it.
        f"{status.st_mtime_ns:x}-{status.st_size:x}",
        datetime.fromtimestamp(int(status.st_mtime), UTC),
    )


class DiskObjectStore:
    """A ObjectStore in a folder; symbolic links below it are not followed."""

    def __init__(self, root: Path, spool: Path) -> None:
        """Use `root`, an existing folder, and `spool`, another one on the same file system."""
        self._root = Path(os.path.realpath(root))
        self._tree = DiskTree(str(self._root))
        self._threads = ThreadPoolExecutor(THREADS, "objects")
        self.spool = spool

    def close(self) -> None:
        """Let the threads end with their work; nothing can be asked any more."""
        self._threads.shutdown(wait=False)

    @traced("disk", "put file")
    async def put_file(
        self,
        key: str,
        path: Path,
        *,
        content_type: str,  # noqa: ARG002 - the key's extension keeps it
        sha256: str | None = None,  # noqa: ARG002 - the bytes do not leave this machine
        if_absent: bool = False,
    ) -> None:
        """Sync the file, then move it into place by one rename (or link, which refuses a taken name)."""
        require_key(key)

        def work() -> None:
            self._tree.place(path, key, if_absent=if_absent)
            if if_absent:
                path.unlink()

        await self._in_thread(work)

    @traced("disk", "put bytes")
    async def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        """Write a spool file, then do as put_file."""
        sink = SpoolSink(self.spool)
        try:
            await sink.write(data)
            await self.put_file(require_key(key), await sink.finish(), content_type=content_type)
        finally:
            await sink.discard()

    @traced("disk", "copy")
    async def copy(self, source: str, target: str) -> None:
        """Link the file once more: objects are replaced, never written to, so both may be one."""
        require_key(source)
        require_key(target)

        def work() -> None:
            link = new_spool_path(self.spool)
            with FileIO(self._tree.open(source)[0]) as file:
                # The link is as old as the object, and would be stale if nobody held it.
                fcntl.flock(file, fcntl.LOCK_SH)
                try:
                    os.link(self._tree.path(source), link, follow_symlinks=False)
                    self._tree.place(link, target)
                except FileNotFoundError as error:
                    raise ObjectNotFound from error
                finally:
                    # Still there after a rename onto itself, which POSIX makes a no-op.
                    link.unlink(missing_ok=True)

        await self._in_thread(work)

    def placing(self, keys: Mapping[str, str]) -> Placing:
        for key in keys.values():
            require_key(key)
        return Placing(self._tree, keys)

    @traced("disk", "stat")
    async def stat(self, key: str) -> ObjectFacts | None:
        require_key(key)

        def work() -> ObjectFacts | None:
            try:
                status = self._tree.path(key).lstat()
            except (*NO_SUCH_FILE, ObjectNotFound):
                return None
            return _facts(key, status) if stat.S_ISREG(status.st_mode) else None

        return await self._in_thread(work)

    @asynccontextmanager
    async def open(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[ObjectReader]:
        """Open the file and read its first chunk in one trip to a thread."""
        require_key(key)

        def work() -> tuple[FileIO, ObjectFacts, bytes]:
            descriptor, status = self._tree.open(key)
            file = FileIO(descriptor)
            try:
                file.seek(start)
                return file, _facts(key, status), file.read(CHUNK_BYTES if length is None else min(length, CHUNK_BYTES))
            except BaseException:
                file.close()
                raise

        with span("disk", "open"):
            file, facts, first = await self._in_thread(work, lambda opened: opened[0].close())
        end = facts.size if length is None else min(facts.size, start + length)

        async def chunks() -> AsyncGenerator[bytes, None]:
            chunk, position = first, start
            while chunk:
                yield chunk
                position += len(chunk)
                wanted = min(CHUNK_BYTES, end - position)
                chunk = await self._in_thread(partial(file.read, wanted)) if wanted > 0 else b""

        try:
            async with aclosing(chunks()) as iterator:
                yield ObjectReader(facts, iterator, self._tree.path(key))
        finally:
            file.close()

    def local_path(self, key: str) -> Path:
        """Return the file's path. Raises ObjectNotFound where a symbolic link is on the way."""
        return self._tree.path(require_key(key))

    def open_local(self, key: str) -> tuple[int, int]:
        """Return the file's descriptor and size."""
        try:  # in place: a look into the kernel's caches, where a trip to a thread costs ten times that
            descriptor, status = self._tree.open(require_key(key))
        except OSError as error:
            raise storage_error(error) from error
        return descriptor, status.st_size

    @traced("disk", "delete")
    async def delete(self, key: str) -> None:
        require_key(key)
        await self._in_thread(lambda: self._tree.remove(key))

    @traced("disk", "delete prefix")
    async def delete_prefix(self, prefix: str) -> None:
        """Unlink all files below the folder, then the emptied folders."""
        require_prefix(prefix)

        def work() -> None:
            with suppress(ObjectNotFound):
                folder = self._tree.folder(prefix)
                remove_tree(folder)
                remove_emptied(folder.parent, self._root)

        await self._in_thread(work)

    async def list(self, prefix: str = "", *, after: str = "", limit: int | None = None) -> AsyncIterator[ObjectFacts]:
        """Walk the folders in the order of the keys."""
        if prefix:
            require_prefix(prefix)
        try:
            folder = self._tree.folder(prefix)
        except ObjectNotFound:
            return
        found = islice(walk(folder, prefix, after), limit)
        while page := await self._in_thread(
            lambda: [_facts(key, status) for key, status in islice(found, LISTED_AT_ONCE)]
        ):
            for facts in page:
                yield facts

    async def check(self) -> None:
        def work() -> bool:
            return all(folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) for folder in (self._root, self.spool))

        if not await self._in_thread(work):
            raise DependencyDown("storage")

    async def clear_stale(self, older_than_s: float = 60) -> int:
        return await self._in_thread(lambda: clear_stale_spool(self.spool, older_than_s))

    async def _in_thread(self, work: Callable[[], ResultT], undo: Callable[[ResultT], object] | None = None) -> ResultT:
        """Run blocking `work`; cancelled, wait for its end (it cannot be stopped) and `undo` what it gave."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await to_its_end(future)
        except asyncio.CancelledError:
            if future.exception() is None and undo is not None:
                undo(future.result())
            raise
        except OSError as error:
            raise storage_error(error) from error
