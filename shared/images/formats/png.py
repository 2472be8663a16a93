"""PNG and APNG by their chunks: size, frames and orientation, and the file without its metadata."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from shared.images.formats.exif import orientation_block, read_orientation
from shared.images.formats.header import MAX_PARTS, Header, damaged

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IEND = b"\0\0\0\0IEND\xaeB`\x82"
# What decides how the pixels look; all other ancillary chunks are metadata, known or not.
_NEEDED = frozenset(
    b"IHDR PLTE IDAT tRNS gAMA cHRM sBIT sRGB iCCP cICP mDCV cLLI acTL fcTL fdAT".split(),
)


def _chunks(view: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) per chunk, length and checksum included; `end` may lie beyond a truncated file."""
    at = len(_SIGNATURE)
    for _ in range(MAX_PARTS):
        if at + 8 > len(view):
            return
        length, kind = struct.unpack_from(">I4s", view, at)
        end = at + 12 + length
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise damaged()


def read_header(view: memoryview, max_frames: int | None = None) -> Header:
    """Read all chunk headers, at most until more than `max_frames` frames are seen."""
    if len(view) < 24 or bytes(view[8:16]) != b"\0\0\0\x0dIHDR":
        raise damaged()
    width, height = struct.unpack_from(">II", view, 16)
    if max(width, height) >= 2**31:
        raise damaged()
    announced = counted = 0
    orientation: int | None = None
    for kind, start, end in _chunks(view):
        if kind == b"fcTL":
            counted += 1
        elif kind == b"acTL" and start + 12 <= len(view):
            announced = max(announced, int.from_bytes(view[start + 8 : start + 12], "big"))
        elif kind == b"eXIf" and orientation is None:
            orientation = read_orientation(view, start + 8, end - 4)
        if max_frames is not None and max(announced, counted) > max_frames:
            break
    return Header(width, height, max(announced, counted, 1), orientation or 1)


def essential_spans(view: memoryview, orientation: int) -> Iterator[tuple[int, int] | bytes]:
    """Yield what to keep, spans of the file and new bytes: no metadata, nothing after the image's end."""
    yield _SIGNATURE
    for kind, start, end in _chunks(view):
        if end > len(view):
            raise damaged()
        if kind == b"IEND":
            yield _IEND
            return
        if kind in _NEEDED:
            yield start, end
        if kind == b"IHDR" and orientation != 1:
            data = b"eXIf" + orientation_block(orientation)
            yield struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    raise damaged()
