"""The one EXIF fact that changes how an image looks, its orientation: a bounded reader and a minimal writer."""

from __future__ import annotations

import struct

EXIF_PREFIX = b"Exif\0\0"
_TAG_ORIENTATION = 0x0112
_TYPE_SHORT = 3
_MAX_ENTRIES = 1000


def read_orientation(view: memoryview, start: int, end: int) -> int:
    """Return the orientation (1-8) from the EXIF block at `start:end`, prefixed or not; 1 where it says nothing."""
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
    (count,) = struct.unpack_from(order + "H", view, directory)
    for at in range(directory + 2, directory + 2 + 12 * min(count, _MAX_ENTRIES), 12):
        if at + 12 > end:
            break
        tag, kind, _, value = struct.unpack_from(order + "HHIH", view, at)
        if tag == _TAG_ORIENTATION:
            return value if kind == _TYPE_SHORT and 1 <= value <= 8 else 1
    return 1


def orientation_block(orientation: int) -> bytes:
    """Write a TIFF block (26 bytes, no `Exif` prefix) that holds the orientation and nothing else."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, _TAG_ORIENTATION, _TYPE_SHORT, 1, orientation, 0, 0)
