"""JPEG by its segments (ITU-T T.81 annex B): size and orientation, and the file without its metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shared.images.formats.exif import EXIF_PREFIX, orientation_block, read_orientation
from shared.images.formats.header import MAX_PARTS, Header, damaged

# The byte after 0xFF is neither a stuffed zero nor another fill byte. Decoders skip junk before a marker, so do we.
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_SCAN = 0  # no marker has this number
_ALONE = frozenset({_SOI, _EOI, _TEM, *range(0xD0, 0xD8)})
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Everything from SOF0 to EXP that is a segment: frames, tables, scans, restart intervals.
_NEEDED = frozenset({_SCAN, *range(0xC0, 0xE0)}) - _ALONE
_PROFILE = b"ICC_PROFILE\0"


def _segments(view: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) per segment, `start` at its 0xFF; `end` may lie beyond a truncated file.

    The entropy-coded data of a scan, with its restart markers, follows as `_SCAN`.
    """
    at, size = 2, len(view)
    for _ in range(MAX_PARTS):
        if at + 1 < size and view[at] == 0xFF and 0 < view[at + 1] < 0xFF:
            start = at
        elif found := _MARKER.search(view, at):
            start = found.start()
        else:
            return
        marker = view[start + 1]
        if marker in _ALONE:
            at = start + 2
        elif start + 4 > size:
            return
        else:
            length = view[start + 2] << 8 | view[start + 3]
            if length < 2:
                raise damaged()
            at = start + 2 + length
        yield marker, start, at
        if marker == _EOI:
            return
        if marker == _SOS:
            start = at
            found = _MARKER_AFTER_SCAN.search(view, at)
            at = found.start() if found else len(view)
            yield _SCAN, start, at
    raise damaged()


def _has(view: memoryview, at: int, prefix: bytes) -> bool:
    return view[at : at + len(prefix)] == prefix


def read_header(view: memoryview, max_frames: int | None = None) -> Header:  # noqa: ARG001 - one signature for all
    """Read up to the first scan; a JPEG is one frame, whatever else a camera has appended to the file."""
    size: tuple[int, int] | None = None
    orientation: int | None = None
    for marker, start, end in _segments(view):
        if marker in {_SOS, _EOI}:
            break
        if marker in _SOF:
            if size or start + 9 > min(end, len(view)):
                raise damaged()
            size = (view[start + 7] << 8 | view[start + 8], view[start + 5] << 8 | view[start + 6])
        elif marker == _APP1 and orientation is None and _has(view, start + 4, EXIF_PREFIX):
            orientation = read_orientation(view, start + 4, end)
    if size is None:
        raise damaged()
    return Header(*size, orientation=orientation or 1)


def essential_spans(view: memoryview, orientation: int) -> Iterator[tuple[int, int] | bytes]:
    """Yield what to keep, spans of the file and new bytes: no metadata, nothing after the image's end."""
    yield b"\xff\xd8"
    block = EXIF_PREFIX + orientation_block(orientation)
    exif = b"" if orientation == 1 else b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    begun = False
    for marker, start, end in _segments(view):
        if end > len(view):
            raise damaged()
        if marker == _EOI:
            yield b"\xff\xd9"
            return
        if marker == _APP0 and not begun and _has(view, start + 4, b"JFIF\0") and end - start >= 18:
            # Its thumbnail may show what was cropped away, its density tells of the camera: only the version stays.
            yield b"\xff\xe0\0\x10" + bytes(view[start + 4 : start + 11]) + b"\0\0\1\0\1\0\0"
        if not begun and marker != _SOI:
            begun = True
            yield exif
        if marker == _APP14 and _has(view, start + 4, b"Adobe") and end - start >= 16:
            yield b"\xff\xee\0\x0e" + bytes(view[start + 4 : start + 16])
        elif marker in _NEEDED or (marker == _APP2 and _has(view, start + 4, _PROFILE)):
            yield start, end
    raise damaged()
