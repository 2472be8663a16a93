"""What is downloaded as a file: all photos of an order as one ZIP (APPNOTE 6.3.10), and orders as CSV (RFC 4180)."""

from __future__ import annotations

import re
import struct
import unicodedata
import zlib
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime

from services.planter_orders.model.orders import Order
from services.planter_orders.model.photos import Photo, photo_key
from shared.errors import DependencyDown, TooLarge
from shared.objects import ObjectReader, ObjectStore

# ZIP archives of files whose sizes and checksums are known before their bytes are sent. Stored, not deflated: photos do not
# get smaller. Nothing is left to be written behind a file's bytes, which readers that do not seek cannot take for stored
# files.
VERSION = 20  # of the format that is needed to read this
MADE_ON_UNIX = 3 << 8
NAMES_ARE_UTF8 = 0x0800
STORED = 0
REGULAR_FILE = 0o100644 << 16
LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
MAX_BYTES = 2**32 - 1
# What Windows takes in no file name, and what turns the writing's direction, so that a name looks like another one.
NOT_IN_NAMES = re.compile("[:*?<>|\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]")
# A cell whose first visible character is one of these is a formula; so is what follows a separator inside a cell, where a
# spreadsheet splits at semicolons or tabs because its language does (it then reads our quotes as text).
STARTS = frozenset("=+-@")
AFTER_SEPARATOR = re.compile(r"([;\t\r\n][^\S\t\r\n]*)(?=\S)")
INVISIBLE = ("Z", "C")


def entry_name(number: int, photo: Photo) -> str:
    """Name a photo by what its sender called it, or by what it is kept as where that was nothing."""
    return f"{number}-{NOT_IN_NAMES.sub('_', photo.original_filename.strip()) or photo.filename}"


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One file: `offset` is where its header stands, `size` and `crc32` are those of its bytes."""

    name: str
    size: int
    crc32: int
    at: datetime
    offset: int

    @property
    def end(self) -> int:
        """Where the next header stands."""
        return self.offset + LOCAL.size + len(self.name.encode()) + self.size

    def _common(self) -> tuple[int, ...]:
        date = (self.at.year - 1980) << 9 | self.at.month << 5 | self.at.day
        time = self.at.hour << 11 | self.at.minute << 5 | self.at.second // 2
        name_bytes = len(self.name.encode())
        return VERSION, NAMES_ARE_UTF8, STORED, time, date, self.crc32, self.size, self.size, name_bytes, 0

    def header(self) -> bytes:
        """Return what stands before its bytes."""
        return LOCAL.pack(b"PK\x03\x04", *self._common()) + self.name.encode()

    def record(self) -> bytes:
        """Return its record in the directory."""
        rest = (0, 0, 0, REGULAR_FILE, self.offset)
        return CENTRAL.pack(b"PK\x01\x02", MADE_ON_UNIX | VERSION, *self._common(), *rest) + self.name.encode()


def directory(entries: Sequence[ZipEntry]) -> bytes:
    """Return what stands behind the last file."""
    records = b"".join(entry.record() for entry in entries)
    start = entries[-1].end if entries else 0
    return records + END.pack(b"PK\x05\x06", 0, 0, len(entries), len(entries), len(records), start, 0)


def zip_size(files: Sequence[tuple[str, int]]) -> int:
    """Return the size of the archive of files with these names and sizes."""
    return END.size + sum(LOCAL.size + CENTRAL.size + 2 * len(name.encode()) + size for name, size in files)


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


def _is_formula(text: str) -> bool:
    if text.startswith(("\t", "\r", "\n")):
        return True
    for character in text:
        if unicodedata.category(character)[0] not in INVISIBLE and character != '"':
            # Compatibility forms (fullwidth ＝, small ﹢, superscript ⁺) count as what they stand for; so does the minus sign.
            return unicodedata.normalize("NFKC", character)[0] in STARTS or character == "\N{MINUS SIGN}"
    return False


def _guard(text: str) -> str:
    pieces = AFTER_SEPARATOR.split(text)  # text, separator, text, …
    for place in range(2, len(pieces), 2):
        if _is_formula(pieces[place]):
            pieces[place] = "'" + pieces[place]
    guarded = "".join(pieces)
    return "'" + guarded if _is_formula(guarded) else guarded


def csv_row(cells: Iterable[str | None]) -> str:
    """Write one line, each cell quoted, and none a formula: an apostrophe before it makes it text."""
    return ",".join('"{}"'.format(_guard(cell or "").replace('"', '""')) for cell in cells) + "\r\n"
