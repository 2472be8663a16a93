"""GIF by its blocks (GIF89a): canvas and frames, and the file without its metadata."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from shared.images.formats.header import MAX_PARTS, Header, Kept, damaged

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

    `end` lies beyond a truncated file: by one where nothing but the block's own end is missing. What stands between
    blocks is skipped, as decoders do.
    """
    at, size = 13 + _table_bytes(view[10]), len(view)
    for _ in range(MAX_PARTS):
        if at >= size:
            return
        start, label = at, view[at]
        if label == _TRAILER:
            yield label, at, at + 1
            return
        if label == _EXTENSION:
            label = label << 8 | (view[at + 1] if at + 1 < size else 0)
            at += 2
        elif label == _IMAGE:
            at += 11 + (_table_bytes(view[at + 9]) if at + 9 < size else 0)
        else:
            at += 1
            continue
        run = _SUB_BLOCKS.match(view, at) if at <= size else None
        end = run.end() if run else at
        at = end + 1 if end < size and not view[end] else size + 1 + (end != size)
        yield label, start, at
    raise damaged()


def read_header(view: memoryview, max_frames: int | None = None) -> Header:
    """Read the screen and the frames' places, at most until more than `max_frames` are seen.

    The first frame makes the screen larger where it does not fit, as it does in browsers; so a screen of 0 by 0 has its
    size, while one side alone that is 0 is damaged. A later one makes decoders' canvas larger.
    """
    if len(view) < 13:
        raise damaged()
    width, height = struct.unpack_from("<HH", view, 6)
    if bool(width) != bool(height):
        raise damaged()
    across, down = width, height
    frames = 0
    for label, start, end in _blocks(view):
        if label == _IMAGE and start + 10 < len(view) and end > start:
            frames += 1
            left, top, wide, high = struct.unpack_from("<HHHH", view, start + 1)
            across, down = max(across, left + wide), max(down, top + high)
            if frames == 1:
                width, height = across, down
            if max_frames is not None and frames > max_frames:
                break
    return Header(width, height, max(frames, 1), canvas_pixels=across * down)


def cut(view: memoryview, kept: Kept, orientation: int, *, strip: bool = True) -> None:  # noqa: ARG001 - as PNG
    """Keep frames, their timing, the loop count and the colour profile; a missing end mark is set.

    It is plain where nothing is left out: a decoder may take what follows a frame for the rest of its pixels.
    Raises where a block is broken. Without `strip` all blocks stay, and what is between them.
    """
    behind = 13 + _table_bytes(view[10])
    if behind > len(view):
        raise damaged()
    kept.keep(0, behind)
    for label, start, end in _blocks(view):
        if end > len(view) + (label == _IMAGE):
            raise damaged()
        if not strip:
            kept.keep(behind, start)
        kept.is_plain = kept.is_plain and behind == start and end <= len(view)
        behind = end
        if label == _TRAILER:
            break
        if (
            label in {_IMAGE, _CONTROL}
            or (label == _APPLICATION and view[start + 2 : start + 14] == _PROFILE)
            or not strip
        ):
            kept.keep(start, min(end, len(view)))
            kept.write(bytes(end - len(view)) if end > len(view) else b"")
        elif label == _APPLICATION and bytes(view[start + 2 : start + 16]) in _LOOPING and end - start >= 19:
            kept.keep(start, start + 18)
            kept.write(b"\0")
            kept.is_plain = kept.is_plain and end - start == 19
        else:
            kept.is_plain = False
    kept.is_plain = kept.is_plain and behind >= len(view)
    kept.write(b";")
