"""JPEG by its segments (ITU-T T.81 annex B): size and orientation, and the file without its metadata.

Segments are read and cut before the first scan alone. What lies between it and the end of the last scan is never
touched: a reader that takes damaged data for a marker would end the image where every decoder goes on.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from shared.images.formats.exif import EXIF_PREFIX, orientation_block, read_orientation
from shared.images.formats.header import MAX_PARTS, CannotCutError, Header, Kept, damaged

# The byte after 0xFF is neither a stuffed zero nor another fill byte. Decoders skip junk before a marker, so do we.
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_SOI, _EOI, _SOS, _TEM, _COM = 0xD8, 0xD9, 0xDA, 0x01, 0xFE
_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_ALONE = frozenset({_SOI, _EOI, _TEM, *range(0xD0, 0xD8)})
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD})  # what may stand between two scans, beside metadata
_METADATA = frozenset({*range(0xE0, 0xF0), _COM})
_PROFILE = b"ICC_PROFILE\0"
EOI = b"\xff\xd9"
_SEGMENT = struct.Struct(">BBH")  # 0xFF, marker, length without these two
_SIZE = struct.Struct(">HH")
_PLAIN = frozenset({0xC4, 0xDB, 0xDD}) | _METADATA - {_APP1}  # Huffman tables, quantisation, restarts; no EXIF
_MOST_PLAIN_SEGMENTS = 100


def _segments(view: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) per segment up to the first scan's, `start` at its 0xFF.

    Raises where one lies beyond the end of the file, or none begins a scan.
    """
    at, size = 2, len(view)
    for _ in range(MAX_PARTS):
        if at + 1 < size and view[at] == 0xFF and 0 < view[at + 1] < 0xFF:
            start = at
        elif found := _MARKER.search(view, at):
            start = found.start()
        else:
            break
        marker = view[start + 1]
        if marker in _ALONE:
            at = start + 2
        elif start + 4 > size:
            break
        else:
            length = view[start + 2] << 8 | view[start + 3]
            at = start + 2 + length
            if length < 2 or at > size:
                break
        yield marker, start, at
        if marker == _SOS:
            return
        if marker == _EOI:
            break
    raise damaged()


def _has(view: memoryview, at: int, prefix: bytes) -> bool:
    return view[at : at + len(prefix)] == prefix


def read_header(view: memoryview, max_frames: int | None = None) -> Header:  # noqa: ARG001 - one signature for all
    """Read up to the first scan; a JPEG is one frame, whatever else a camera has appended to the file."""
    return _read_plain(view) or _read_any(view)


def _read_plain(view: memoryview) -> Header | None:
    """Read a header without EXIF and junk in a third of the time that others need; None for those."""
    at, size = 2, None
    try:
        for _ in range(_MOST_PLAIN_SEGMENTS):
            first, marker, length = _SEGMENT.unpack_from(view, at)
            if first != 0xFF or length < 2:
                return None
            if marker in _SOF and size is None and length >= 7:
                height, width = _SIZE.unpack_from(view, at + 5)
                size = (width, height)
            elif marker not in _PLAIN:
                is_whole = marker == _SOS and at + 2 + length <= len(view)
                return Header(*size) if size and is_whole else None
            at += 2 + length
    except struct.error:  # it ends within
        pass
    return None


def _read_any(view: memoryview) -> Header:
    size: tuple[int, int] | None = None
    exif = bytearray()
    for marker, start, end in _segments(view):
        if marker in _SOF:
            if size or end - start < 9:
                raise damaged()
            size = (view[start + 7] << 8 | view[start + 8], view[start + 5] << 8 | view[start + 6])
        elif marker == _APP1 and _has(view, start + 4, EXIF_PREFIX):
            exif += view[start + (10 if exif else 4) : end]  # as in Pillow, another segment continues the first
    if size is None:
        raise damaged()
    return Header(*size, orientation=read_orientation(memoryview(exif), 0, len(exif)))


def cut(view: memoryview, kept: Kept, orientation: int) -> None:
    """Keep the file without its metadata and without what follows the end of the image.

    Of metadata behind the last scan, all up to the end mark goes. Raises `CannotCutError` for metadata between two
    scans, and where the image has no end mark.
    """
    kept.write(b"\xff\xd8")
    block = EXIF_PREFIX + orientation_block(orientation)
    exif = b"" if orientation == 1 else b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    begun, first, behind = False, 2, 2
    for marker, start, end in _segments(view):
        kept.is_plain = kept.is_plain and start == behind
        first, behind = start, end
        is_jfif = marker == _APP0 and _has(view, start + 4, b"JFIF\0") and end - start >= 18
        if is_jfif:
            # Wherever it stands: decoders take the colours from it. Its thumbnail may show what was cropped away, its
            # density tells of the camera: only the version stays.
            kept.write(b"\xff\xe0\0\x10" + bytes(view[start + 4 : start + 11]) + b"\0\0\1\0\1\0\0")
        if not begun:
            begun = True
            kept.write(exif)
        if is_jfif:
            continue
        if marker == _APP14 and _has(view, start + 4, b"Adobe") and end - start >= 16:
            kept.write(b"\xff\xee\0\x0e" + bytes(view[start + 4 : start + 16]))
        elif marker not in {*_METADATA, _SOS} or (marker == _APP2 and _has(view, start + 4, _PROFILE)):
            kept.keep(start, end)
    scans = _Scans(view, first)
    if scans.end is None or scans.has_metadata:
        raise CannotCutError
    kept.is_plain = kept.is_plain and scans.first_stray is None and scans.last_metadata is None
    if scans.last_metadata is None:
        kept.keep(first, scans.end)
    else:
        kept.keep(first, scans.last_metadata)
        kept.write(EOI)


def open_ends(view: memoryview) -> list[int]:
    """Return where the scans of an image without an end mark may break off; else nothing.

    Raises where a component's scan is missing, or the file breaks off in a table between two scans.
    """
    announced = first = 0
    for marker, start, _ in _segments(view):
        first = start
        if marker in _SOF:
            announced = view[start + 9]
    scans = _Scans(view, first)
    if scans.end is not None:
        return []
    if scans.is_cut_in_table:
        raise damaged()
    last = len(bytes(view[-8:]).rstrip(b"\xff")) + max(0, len(view) - 8)  # half an end mark is none
    places = ((last, scans.whole), (scans.first_stray, scans.whole_before_stray))
    ends = [end for end, whole in places if end is not None and whole == announced]
    if not ends:
        raise damaged()
    return ends


class _Scans:
    """The image data, from the first SOS segment at `start` on.

    `end` is behind the first end mark, None without one. `last_metadata` is where the first metadata behind the last scan
    begins, None where there is none. Tables and metadata count as such only where they fill all the
    room up to the next marker; any other marker is a stray, as damaged data has them.
    """

    def __init__(self, view: memoryview, start: int) -> None:
        self.end: int | None = None
        self.has_metadata = self.is_cut_in_table = False
        self.first_stray: int | None = None
        self.last_metadata: int | None = None
        self.whole_before_stray = 0
        self._first: set[int] = set()
        self._last: set[int] = set()
        self._scan(view, start + 4)
        at = start + 2
        for _ in range(MAX_PARTS):
            found = _MARKER_IN_SCAN.search(view, at)
            if found is None:
                return
            at = found.end()
            marker = view[at - 1]
            if marker == _EOI:
                self.end = at
                return
            behind = at + int.from_bytes(view[at : at + 2], "big")
            if marker in _TABLES | _METADATA and self._is_marker(view, behind):
                if marker in _METADATA and self.last_metadata is None:
                    self.last_metadata = at - 2
                at = behind
                continue
            self.has_metadata = self.has_metadata or self.last_metadata is not None  # more of the image follows
            self.last_metadata = None
            if marker == _SOS:
                self._scan(view, at + 2)
            elif self.first_stray is None:
                self.first_stray, self.whole_before_stray = at - 2, self.whole
                self.is_cut_in_table = marker in _TABLES and behind > len(view)
        raise damaged()

    @property
    def whole(self) -> int:
        """Return of how many components a scan gives the last bit of the first coefficient, and one of the last."""
        return len(self._first & self._last)

    def _scan(self, view: memoryview, at: int) -> None:
        count = view[at] if at < len(view) else 0
        behind = at + 1 + 2 * count
        if behind + 3 <= len(view) and not view[behind + 2] & 15:
            components = view[at + 1 : behind : 2]
            self._first.update(components if view[behind] == 0 else ())
            self._last.update(components if view[behind + 1] == 63 else ())

    @staticmethod
    def _is_marker(view: memoryview, at: int) -> bool:
        return at + 1 < len(view) and view[at] == 0xFF and view[at + 1] not in {0, *range(0xD0, 0xD8)}
