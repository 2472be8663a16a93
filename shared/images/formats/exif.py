"""The one EXIF fact that changes how an image looks, its orientation: a bounded reader and a minimal writer."""

from __future__ import annotations

import struct
from collections.abc import Iterator

EXIF_PREFIX = b"Exif\0\0"
_TAG_ORIENTATION = 0x0112
_TYPE_SHORT = 3
_INTEGERS = {_TYPE_SHORT: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}  # cameras write a SHORT, some programs a LONG
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_MAX_ENTRIES = 1000


def read_orientation(view: memoryview, start: int, end: int) -> int:
    """Return the orientation (1-8) from the EXIF block at `start:end`, prefixed or not; 1 where it says nothing.

    As in Pillow, the first entry that has a value counts, of several values the first, and none behind one whose value is
    not there.
    """
    end = min(end, len(view))
    if view[start : min(start + 6, end)] == EXIF_PREFIX:
        start += 6
    if end - start < 8:
        return 1
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(view[start : start + 4]))
    if order is None:
        return 1
    (offset,) = struct.unpack_from(order + "I", view, start + 4)
    directory = start + offset
    if directory + 2 > end:
        return 1
    orientation = 1
    for tag, kind, where in _values(view, start, end, directory, order):
        if tag == _TAG_ORIENTATION:
            if kind in _INTEGERS:
                (orientation,) = struct.unpack_from(order + _INTEGERS[kind], view, where)
            break
    return orientation if 1 <= orientation <= 8 else 1


def _values(view: memoryview, start: int, end: int, directory: int, order: str) -> Iterator[tuple[int, int, int]]:
    """Yield (tag, type, place of the first value) per entry of the directory, as far as Pillow reads it."""
    total = 0
    (entries,) = struct.unpack_from(order + "H", view, directory)
    for at in range(directory + 2, directory + 2 + 12 * min(entries, _MAX_ENTRIES), 12):
        if at + 12 > end:
            return
        tag, kind, count, value = struct.unpack_from(order + "HHII", view, at)
        size, where = _BYTES.get(kind, 0) * count, at + 8
        if size > 4:
            where = start + value
            total += size
            if total > end - start:
                continue
            if where + size > end:
                return
        if size:
            yield tag, kind, where


def read_raw_profile(text: bytes) -> int:
    """Return the orientation from an EXIF block that ImageMagick wrote as text: name and length, then hex digits."""
    try:
        block = bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return 1
    return read_orientation(memoryview(block), 0, len(block))


def orientation_block(orientation: int) -> bytes:
    """Write a TIFF block (26 bytes, no `Exif` prefix) that holds the orientation and nothing else."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, _TAG_ORIENTATION, _TYPE_SHORT, 1, orientation, 0, 0)
