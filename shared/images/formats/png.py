"""PNG and APNG by their chunks: size, frames and orientation, and the file without its metadata."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from shared.images.formats.exif import orientation_block, read_orientation
from shared.images.formats.header import MAX_PARTS, Header, Kept, damaged

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IEND = b"\0\0\0\0IEND\xaeB`\x82"
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_PIXELS = frozenset({b"IDAT", b"fdAT"})
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
# What decides how the pixels look; all other ancillary chunks are metadata, known or not.
_COLOURS = frozenset(b"tRNS gAMA cHRM sBIT sRGB iCCP cICP mDCV cLLI".split())
_NEEDED = _CRITICAL | _ANIMATION | _COLOURS
_TYPE = re.compile(rb"[A-Za-z]{4}")
_PALETTE = 3


def _chunks(view: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) per chunk, length and checksum included; `end` may lie beyond a truncated file.

    What has no type behind the first pixels is no chunk any more: the end mark is missing, and decoders have all they need.
    """
    at = len(_SIGNATURE)
    has_pixels = False
    for _ in range(MAX_PARTS):
        if at + 8 > len(view):
            return
        length, kind = struct.unpack_from(">I4s", view, at)
        if not _TYPE.fullmatch(kind):
            if has_pixels:
                return
            raise damaged()
        end = at + 12 + length
        yield kind, at, end
        if kind == b"IEND":
            return
        has_pixels = has_pixels or kind == b"IDAT"
        at = end
    raise damaged()


def _is_whole(view: memoryview, start: int, end: int) -> bool:
    """Tell whether a chunk's checksum is right."""
    return end <= len(view) and zlib.crc32(view[start + 4 : end - 4]).to_bytes(4, "big") == view[end - 4 : end]


def read_header(view: memoryview, max_frames: int | None = None) -> Header:
    """Read all chunk headers, at most until more than `max_frames` frames are seen.

    Frames count where an acTL comes before the pixels, as in decoders.
    """
    if len(view) < 26 or bytes(view[8:16]) != b"\0\0\0\x0dIHDR":
        raise damaged()
    width, height = struct.unpack_from(">II", view, 16)
    if max(width, height) >= 2**31:
        raise damaged()
    frames = _Frames()
    has_palette = view[25] != _PALETTE
    orientation: int | None = None
    for kind, start, end in _chunks(view):
        has_palette = has_palette or kind == b"PLTE"
        if kind == b"IDAT" and not has_palette:
            raise damaged()
        if kind == b"eXIf" and orientation is None and _is_whole(view, start, end):
            orientation = read_orientation(view, start + 8, end - 4)
        frames.see(kind, view[start + 8 : start + 12])
        if max_frames is not None and frames.number > max_frames:
            break
    return Header(width, height, frames.number, orientation or 1)


class _Frames:
    """Counts as decoders do: an acTL must come before the pixels, and a default image that is no frame is one more picture."""

    def __init__(self) -> None:
        self._announced = self._controls = 0
        self._has_pixels = False

    def see(self, kind: bytes, content: memoryview) -> None:
        if kind == b"fcTL":
            self._controls += 1
        elif kind == b"acTL" and not self._has_pixels and len(content) == 4:
            self._announced = max(self._announced, int.from_bytes(content, "big"))
        elif kind == b"IDAT" and not self._has_pixels:
            self._has_pixels = True
            if self._announced and not self._controls:
                self._controls, self._announced = 1, self._announced + 1

    @property
    def number(self) -> int:
        return max(self._announced, self._controls) if self._announced else 1


def cut(view: memoryview, kept: Kept, orientation: int, *, strip: bool = True) -> None:
    """Keep the file without its metadata and without what follows the end of the image.

    A missing end mark is set, an ancillary chunk with a wrong checksum is dropped, as decoders do. Raises where another
    one is broken. Without `strip` the metadata stays.
    """
    kept.write(_SIGNATURE)
    last, is_interrupted = b"", False
    for kind, start, end in _chunks(view):
        if kind == b"IEND":
            break
        if end > len(view) and kind in _PIXELS:  # whether pixels are missing, a decoder finds out
            kept.is_plain = False
            _close(view, kept, start, min(len(view), end - 4))
            break
        if not _is_whole(view, start, end):
            if kind in _CRITICAL | _ANIMATION | {b"tRNS"} or _turns(view, kind, start, end):
                raise damaged()  # decoders make different things of it
            continue
        if not kind[0] & 0x20 and kind not in _CRITICAL:
            raise damaged()
        if strip and kind not in _NEEDED:
            is_interrupted = is_interrupted or last in _PIXELS
            continue
        if is_interrupted and kind in _PIXELS:  # decoders take the pixels of one picture from neighbours alone
            kept.is_plain = False
        kept.keep(start, end)
        if kind == b"IHDR" and orientation != 1 and strip:
            data = b"eXIf" + orientation_block(orientation)
            kept.write(struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)))
        last, is_interrupted = kind, False
    kept.write(_IEND)


def _turns(view: memoryview, kind: bytes, start: int, end: int) -> bool:
    return kind == b"eXIf" and read_orientation(view, start + 8, end - 4) != 1


def _close(view: memoryview, kept: Kept, start: int, end: int) -> None:
    """Keep a chunk that breaks off at `end`, with the length it has and its checksum."""
    kept.write(struct.pack(">I", end - start - 8))
    kept.keep(start + 4, end)
    kept.write(zlib.crc32(view[start + 4 : end]).to_bytes(4, "big"))


def colour_chunks(view: memoryview) -> dict[bytes, bytes]:
    """Return the contents of the whole chunks before the pixels that say what the colours are."""
    found: dict[bytes, bytes] = {}
    for kind, start, end in _chunks(view):
        if kind in _PIXELS:
            break
        if kind in _COLOURS and _is_whole(view, start, end):
            found.setdefault(kind, bytes(view[start + 8 : end - 4]))
    return found
