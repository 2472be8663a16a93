"""WebP by its RIFF chunks: size, frames and orientation, and the file without its metadata."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from shared.images.formats.exif import orientation_block, read_orientation
from shared.images.formats.header import MAX_PARTS, Header, Kept, damaged

_BITSTREAMS = frozenset({b"VP8 ", b"VP8L"})
_METADATA = frozenset({b"EXIF", b"XMP "})
_NEEDED = frozenset({b"ALPH", b"ANIM", b"ICCP", *_BITSTREAMS})
_FLAG_EXIF = 0x08
_FLAGS_KEPT = 0x32  # profile, alpha, animation
_FLAGS_KNOWN = _FLAGS_KEPT | _FLAG_EXIF | 0x04  # and XMP


def _chunks(view: memoryview, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) per chunk, without its padding; `end` may lie beyond a truncated file."""
    for _ in range(MAX_PARTS):
        if start + 8 > end:
            return
        kind, size = struct.unpack_from("<4sI", view, start)
        yield kind, start, start + 8 + size
        start += 8 + size + (size & 1)
    raise damaged()


def _riff_end(view: memoryview) -> int:
    return 8 + int.from_bytes(view[4:8], "little")


def _bitstream_size(view: memoryview, kind: bytes) -> tuple[int, int]:
    if kind == b"VP8L" and len(view) >= 25 and view[20] == 0x2F:
        bits = int.from_bytes(view[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(view) >= 30 and bytes(view[23:26]) == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", view, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise damaged()


def read_header(view: memoryview, max_frames: int | None = None) -> Header:
    """Read all chunk headers, at most until more than `max_frames` frames are seen."""
    if len(view) < 20:
        raise damaged()
    kind = bytes(view[12:16])
    if kind != b"VP8X":
        return Header(*_bitstream_size(view, kind))
    if len(view) < 30:
        raise damaged()
    flags = view[20]
    width, height = (int.from_bytes(view[at : at + 3], "little") + 1 for at in (24, 27))
    frames = 0
    orientation: int | None = None
    for kind, start, end in _chunks(view, 12, min(len(view), _riff_end(view))):
        if kind == b"ANMF":
            frames += 1
            if max_frames is not None and frames > max_frames:
                break
        elif kind == b"EXIF" and flags & _FLAG_EXIF and orientation is None:
            orientation = read_orientation(view, start + 8, end)
    return Header(width, height, max(frames, 1), orientation or 1)


def _keep_padded(kept: Kept, start: int, end: int) -> None:
    kept.keep(start, end)
    kept.write(bytes(end - start & 1))


def _cut_frame(view: memoryview, kept: Kept, start: int, end: int) -> None:
    """Keep one frame of an animation: its place and timing, its alpha and its bitstream, nothing else."""
    if start + 24 > end:
        raise damaged()
    parts = [span[1:] for span in _chunks(view, start + 24, end) if span[0] in {b"ALPH", *_BITSTREAMS}]
    if not parts or parts[-1][1] > end:
        raise damaged()
    size = 16 + sum(last - first + (last - first & 1) for first, last in parts)
    kept.is_plain = kept.is_plain and size == end - start - 8
    kept.write(b"ANMF" + struct.pack("<I", size))
    kept.keep(start + 8, start + 24)
    for first, last in parts:
        _keep_padded(kept, first, last)


def cut(view: memoryview, kept: Kept, orientation: int) -> None:
    """Keep the file without its metadata; the RIFF size at 4:8 is left for the caller to fill in.

    It is plain where nothing but EXIF and XMP is left out. Raises where the file breaks off.
    """
    riff_end = _riff_end(view)
    if not 20 <= riff_end <= len(view):
        raise damaged()
    kept.write(b"RIFF\0\0\0\0WEBP")
    extended = bytes(view[12:16]) == b"VP8X"
    for kind, start, end in _chunks(view, 12, riff_end):
        if end > riff_end:
            raise damaged()
        if kind == b"VP8X":
            if start != 12 or end < 30:
                raise damaged()
            flags = view[20] & _FLAGS_KEPT | _FLAG_EXIF * (orientation != 1)
            kept.write(b"VP8X\x0a\0\0\0" + bytes([flags, 0, 0, 0]) + bytes(view[24:30]))
            kept.is_plain = end == 30 and not view[20] & ~_FLAGS_KNOWN
        elif kind == b"ANMF":
            _cut_frame(view, kept, start, end)
        elif kind in _NEEDED:
            _keep_padded(kept, start, end)
        else:
            kept.is_plain = kept.is_plain and kind in _METADATA
        if not extended:
            break
    if orientation != 1:
        block = orientation_block(orientation)
        kept.write(b"EXIF" + struct.pack("<I", len(block)) + block)
