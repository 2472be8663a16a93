"""WebP by its RIFF chunks: size, frames and orientation, and the file without its metadata."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from shared.images.formats.exif import orientation_block, read_orientation
from shared.images.formats.header import MAX_PARTS, Header, damaged

_BITSTREAMS = frozenset({b"VP8 ", b"VP8L"})
_NEEDED = frozenset({b"ALPH", b"ANIM", b"ICCP", *_BITSTREAMS})
_FLAG_EXIF = 0x08
_FLAGS_KEPT = 0x32  # profile, alpha, animation


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


def _padded(start: int, end: int) -> Iterator[tuple[int, int] | bytes]:
    yield start, end
    if end - start & 1:
        yield b"\0"


def _frame(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int] | bytes]:
    """Yield one frame of an animation: its place and timing, its alpha and its bitstream, nothing else."""
    if start + 24 > end:
        raise damaged()
    kept = [span[1:] for span in _chunks(view, start + 24, end) if span[0] in {b"ALPH", *_BITSTREAMS}]
    if not kept or kept[-1][1] > end:
        raise damaged()
    yield b"ANMF" + struct.pack("<I", 16 + sum(last - first + (last - first & 1) for first, last in kept))
    yield start + 8, start + 24
    for first, last in kept:
        yield from _padded(first, last)


def essential_spans(view: memoryview, orientation: int) -> Iterator[tuple[int, int] | bytes]:
    """Yield what to keep, spans of the file and new bytes; the RIFF size at 4:8 is left for the caller to fill in."""
    riff_end = _riff_end(view)
    if riff_end > len(view):
        raise damaged()
    yield b"RIFF\0\0\0\0WEBP"
    extended = bytes(view[12:16]) == b"VP8X"
    for kind, start, end in _chunks(view, 12, riff_end):
        if end > riff_end:
            raise damaged()
        if kind == b"VP8X":
            if start != 12 or end < 30:
                raise damaged()
            flags = view[20] & _FLAGS_KEPT | (_FLAG_EXIF if orientation != 1 else 0)
            yield b"VP8X\x0a\0\0\0" + bytes([flags, 0, 0, 0]) + bytes(view[24:30])
        elif kind == b"ANMF":
            yield from _frame(view, start, end)
        elif kind in _NEEDED:
            yield from _padded(start, end)
        if not extended:
            return
    if orientation != 1:
        block = orientation_block(orientation)
        yield b"EXIF" + struct.pack("<I", len(block)) + block
