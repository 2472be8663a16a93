"""All photos of an order as one ZIP, streamed: a few hundred kilobytes of it are in memory at any time."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator

from services.planter_orders.model.object_keys import photo_key
from services.planter_orders.model.orders import Order
from services.planter_orders.model.zip_file import MAX_BYTES, ZipEntry, directory, zip_size
from shared.errors import DependencyDown, TooLarge
from shared.objects import BlobStore


def _named(order: Order) -> list[tuple[str, int]]:
    return [(f"{number}-{photo.original_filename}", photo.size) for number, photo in enumerate(order.photos, 1)]


def photos_zip_size(order: Order) -> int:
    """Return the archive's size in bytes. Raises TooLarge where it needs more than 32 bits."""
    size = zip_size(_named(order))
    if size > MAX_BYTES:
        raise TooLarge("The photos are too large for one ZIP: at most 4 GiB. Please fetch them one by one.")
    return size


async def photos_zip(blobs: BlobStore, order: Order) -> AsyncGenerator[bytes, None]:
    """Iterate over the archive's bytes: `1-<original name>` and so on, the bytes as they were sent.

    Each photo is read twice, first for its checksum, which stands before its bytes.
    Raises ObjectNotFound where a photo went meanwhile, and DependencyDown.
    """
    entries: list[ZipEntry] = []
    for photo, (name, size) in zip(order.photos, _named(order), strict=True):
        key = photo_key(order.user_id, order.id, photo.filename)
        crc32 = await _crc32(blobs, key, size)
        entry = ZipEntry(name, size, crc32, order.created_at, entries[-1].end if entries else 0)
        yield entry.header()
        async with blobs.open(key) as reader:
            async for chunk in reader.chunks:
                yield chunk
        entries.append(entry)
    yield directory(entries)


async def _crc32(blobs: BlobStore, key: str, size: int) -> int:
    crc32 = read = 0
    async with blobs.open(key) as reader:
        async for chunk in reader.chunks:
            crc32 = zlib.crc32(chunk, crc32)
            read += len(chunk)
    if read != size:
        raise DependencyDown("storage")
    return crc32
