"""ZIP archives of files whose sizes and checksums are known before their bytes are sent (APPNOTE 6.3.10).

Stored, not deflated: photos do not get smaller. Nothing is left to be written behind a file's bytes, which readers that
do not seek cannot take for stored files.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.planter_orders.model.photos import Photo

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
