"""GIF by its blocks (GIF89a): canvas and frames, and the file without its metadata."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from shared.images.formats.header import MAX_PARTS, Header, damaged

# A run of sub-blocks, each a length and that many bytes. Ten million bytes of one-byte sub-blocks take a loop in
# Python 0.4-0.7 s and this pattern 0.15 s; full blocks come first because encoders write little else.
_SUB_BLOCKS = re.compile(
    b"(?:" + b"|".join(rb"\x%02x.{%d}" % (size, size) for size in (255, 254, *range(1, 254))) + b")*+",
    re.DOTALL,
)
_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_CONTROL, _APPLICATION = 0x21F9, 0x21FF
_LOOPING = (b"\x0bNETSCAPE2.0\x03\x01", b"\x0bANIMEXTS1.0\x03\x01")
_PROFILE = b"\x0bICCRGBG1012"


def _table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks(view: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield (label, start, end) per block; the label of an extension is its two first bytes.

    `end` may lie beyond a truncated file. What stands between blocks is skipped, as decoders do.
    """
    at = 13 + _table_bytes(view[10])
    for _ in range(MAX_PARTS):
        if at >= len(view):
            return
        start, label = at, view[at]
        if label == _TRAILER:
            yield label, at, at + 1
            return
        if label == _EXTENSION and at + 2 < len(view):
            label = label << 8 | view[at + 1]
            at += 2
        elif label == _IMAGE and at + 10 < len(view):
            at += 11 + _table_bytes(view[at + 9])
        else:
            at += 1
            continue
        run = _SUB_BLOCKS.match(view, at)
        end = run.end() if run else at
        at = end + 1 if end < len(view) and not view[end] else len(view) + 1
        yield label, start, at
    raise damaged()


def read_header(view: memoryview, max_frames: int | None = None) -> Header:
    """Read the screen and the frames' places, at most until more than `max_frames` are seen.

    The canvas grows with a frame that does not fit, as it does in decoders.
    """
    if len(view) < 13:
        raise damaged()
    width, height = struct.unpack_from("<HH", view, 6)
    if not width or not height:
        raise damaged()
    frames = 0
    for label, start, _ in _blocks(view):
        if label == _IMAGE:
            frames += 1
            left, top, across, down = struct.unpack_from("<HHHH", view, start + 1)
            width, height = max(width, left + across), max(height, top + down)
            if max_frames is not None and frames > max_frames:
                break
    return Header(width, height, max(frames, 1))


def essential_spans(view: memoryview, orientation: int) -> Iterator[tuple[int, int] | bytes]:  # noqa: ARG001 - as JPEG
    """Yield what to keep, spans of the file and new bytes: frames, their timing, the loop count, the colour profile."""
    yield 0, 13 + _table_bytes(view[10])
    for label, start, end in _blocks(view):
        if end > len(view):
            raise damaged()
        if label == _TRAILER:
            yield b";"
            return
        if label in {_IMAGE, _CONTROL} or (label == _APPLICATION and view[start + 2 : start + 14] == _PROFILE):
            yield start, end
        elif label == _APPLICATION and bytes(view[start + 2 : start + 16]) in _LOOPING and end - start >= 19:
            yield bytes(view[start : start + 18]) + b"\0"
    raise damaged()
