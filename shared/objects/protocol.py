"""What every object store promises, on disk and in a bucket alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from shared.errors import Conflict

if TYPE_CHECKING:
    from shared.objects.placing import Placing


class ObjectExists(Conflict):
    """The key is taken, and `if_absent` was asked for."""

    def __init__(self) -> None:
        """Say so without naming the key."""
        super().__init__("There is already an object with this name.", "object_exists")


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What is known of an object without its bytes; `etag` is strong and unquoted, `size` in bytes.

    `last_modified` is aware, in UTC, in whole seconds, as HTTP has it.
    """

    key: str
    size: int
    content_type: str
    etag: str
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class ObjectReader:
    """An object open for reading; `chunks` can be iterated once, `path` is its file where it is one (for sendfile)."""

    facts: ObjectFacts
    chunks: AsyncIterator[bytes]
    path: Path | None = None

    async def read(self) -> bytes:
        """Return the bytes asked for at once; whoever calls knows that they are few."""
        return b"".join([chunk async for chunk in self.chunks])


class ObjectStore(Protocol):
    """Objects by key. All calls may run at the same time, from any number of processes.

    - A write is whole or absent: no reader sees a part, and of two puts at one key one wins entirely.
    - When a write or a delete returns, it is durable, and every later read sees it.
    - Keys are as `require_key` says; InvalidKey (a 404) otherwise. Whoever puts gives the content type that the key's
      extension stands for: on disk the extension is all that keeps it.
    - StorageFull where there is no room; DependencyDown("storage") where the store does not answer: a remote one, after at
      most 3 s in which no byte moved. Then, and after a cancellation, a write has happened or not (whole, or not at all):
      who must leave nothing behind deletes the key.
    - Nothing temporary stays behind, whichever way a call ends.
    """

    spool: Path
    """The folder for files on their way in, on the file system that makes `put_file` cheap."""

    async def put_file(
        self, key: str, path: Path, *, content_type: str, sha256: str | None = None, if_absent: bool = False
    ) -> None:
        """Move the finished file at `path` (in `spool`) to `key`: afterwards the file is gone.

        When this raises, what is still at `path` is the caller's. ObjectExists where the key is taken and `if_absent` is set.
        `sha256` (hex) lets a remote store refuse bytes that changed on their way.
        """

    def placing(self, keys: Mapping[str, str]) -> Placing | None:
        """Return how a worker can do what `put_file` with `if_absent` does, at one of `keys` by the file's extension.

        None where objects are no files. When the worker failed, `Placing.undo` takes away what it may have left.
        """

    async def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        """Write a small object, replacing what was there."""

    async def copy(self, source: str, target: str) -> None:
        """Give `target` the bytes of `source`, replacing what was there. Raises ObjectNotFound."""

    async def stat(self, key: str) -> ObjectFacts | None:
        """Describe an object; None where there is none."""

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> AbstractAsyncContextManager[ObjectReader]:
        """Open an object for reading from byte `start`, at most `length` bytes. Raises ObjectNotFound.

        Who began to read reads to the end, also when the object is deleted or replaced meanwhile.
        """
        ...

    def local_path(self, key: str) -> Path | None:
        """Return the file that an object is, if there is one, without a trip to a thread; None where objects are no files.

        Raises ObjectNotFound where nothing can be there.
        """

    def open_local(self, key: str) -> tuple[int, int] | None:
        """Open the file that an object is, as `local_path` finds it; return its descriptor, to be closed, and its size.

        None where objects are no files. Raises ObjectNotFound or DependencyDown.
        """

    async def delete(self, key: str) -> None:
        """Delete an object; it is no error that there was none."""

    async def delete_prefix(self, prefix: str) -> None:
        """Delete all objects whose keys begin with `prefix`, which ends with a slash."""

    def list(self, prefix: str = "", *, after: str = "", limit: int | None = None) -> AsyncIterator[ObjectFacts]:
        """Iterate over the objects under `prefix` (empty, or ending with a slash) by ascending key, in bounded memory.

        Only keys greater than `after`; at most `limit` of them. `content_type` is what the extension says.
        """
        ...

    async def check(self) -> None:
        """Ask whether the store answers and would take a write. Raises DependencyDown."""

    async def clear_stale(self, older_than_s: float = 60) -> int:
        """Clear what killed processes left in `spool` and nobody added to for `older_than_s` seconds; count it."""
