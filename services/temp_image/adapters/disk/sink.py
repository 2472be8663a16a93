"""Where an upload's bytes wait until they are found to be an image: memory where they are few, else a spool file."""

from __future__ import annotations

from pathlib import Path

from services.temp_image.adapters.disk.image_file import RECORD_BYTES, SMALL_BYTES
from shared.uploads import MemorySink, SpoolSink


class DiskSink:
    """Ends as `bytes`, or as the path of a spool file that begins with the place of its record.

    So a small upload is written once, where it is kept, and a large one costs a buffer of 256 KiB.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._size = 0
        self._sink: MemorySink | SpoolSink = MemorySink()

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises StorageFull or DependencyDown."""
        self._size += len(chunk)
        if self._size > SMALL_BYTES and isinstance(self._sink, MemorySink):
            small = await self._sink.finish()
            self._sink = SpoolSink(self._folder)
            await self._sink.write(bytes(RECORD_BYTES))
            await self._sink.write(small)
        await self._sink.write(chunk)

    async def finish(self) -> bytes | Path:
        """Return the bytes, or the spool file. Raises StorageFull or DependencyDown."""
        return await self._sink.finish()

    async def discard(self) -> None:
        """Let go of everything that was not kept."""
        await self._sink.discard()
