"""All photos of an order as one ZIP, streamed: of each photo two chunks at most are in memory at any time."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

from services.planter_orders.model.object_keys import photo_key
from services.planter_orders.model.orders import Order
from services.planter_orders.model.zip_file import MAX_BYTES, ZipEntry, directory, entry_name, zip_size
from shared.errors import DependencyDown, TooLarge
from shared.objects import ObjectReader, ObjectStore


def _named(order: Order) -> list[tuple[str, int]]:
    return [(entry_name(number, photo), photo.size) for number, photo in enumerate(order.photos, 1)]


def photos_zip_size(order: Order) -> int:
    """Return the archive's size in bytes. Raises TooLarge where it needs more than 32 bits."""
    size = zip_size(_named(order))
    if size > MAX_BYTES:
        raise TooLarge("The photos are too large for one ZIP: at most 4 GiB. Please fetch them one by one.")
    return size


async def photos_zip(objects: ObjectStore, order: Order) -> AsyncGenerator[bytes, None]:
    """Iterate over the archive's bytes: `1-<original name>` and so on, the bytes as they were sent.

    Each photo is read twice, first for its checksum, which stands before its bytes. All are opened before the first byte
    is given: who began to read reads to the end, also when a photo is replaced or the order deleted meanwhile.
    Raises ObjectNotFound where a photo went before, and DependencyDown.
    """
    entries: list[ZipEntry] = []
    async with AsyncExitStack() as stack:
        keys = [photo_key(order.user_id, order.id, photo.filename) for photo in order.photos]
        opened = [[await stack.enter_async_context(objects.open(key)) for _ in range(2)] for key in keys]
        for key, (checked, sent), (name, size) in zip(keys, opened, _named(order), strict=True):
            crc32 = await _crc32(_chunks(objects, key, checked), size)
            entry = ZipEntry(name, size, crc32, order.created_at, entries[-1].end if entries else 0)
            yield entry.header()
            async with aclosing(_chunks(objects, key, sent)) as chunks:
                async for chunk in chunks:
                    yield chunk
            entries.append(entry)
        yield directory(entries)


async def _chunks(objects: ObjectStore, key: str, reader: ObjectReader) -> AsyncGenerator[bytes, None]:
    """Iterate over what is left of an object; a bucket may not have waited for a slow browser, and is asked again then."""
    given = 0
    try:
        async for chunk in reader.chunks:
            given += len(chunk)
            yield chunk
    except DependencyDown:
        async with objects.open(key, start=given) as again:
            async for chunk in again.chunks:
                yield chunk


async def _crc32(chunks: AsyncGenerator[bytes, None], size: int) -> int:
    crc32 = read = 0
    async with aclosing(chunks):
        async for chunk in chunks:
            crc32 = zlib.crc32(chunk, crc32)
            read += len(chunk)
    if read != size:
        raise DependencyDown("storage")
    return crc32
