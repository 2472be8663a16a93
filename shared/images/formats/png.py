"""PNG and APNG by their chunks: size, frames and orientation, and the file without its metadata."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from shared.images.formats.exif import orientation_block, read_orientation, read_raw_profile
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
_RAW_PROFILE = b"Raw profile type exif\0"
_MAX_TEXT = 2**20  # Pillow's limit


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
    return end <= len(view) and zlib.crc32(view[start + 4 : end - 4]).to_bytes(4, "big") == view[end - 4 : end]


def read_header(view: memoryview, max_frames: int | None = None) -> Header:
    """Read all chunk headers, at most until more than `max_frames` frames are seen.

    Frames count where an acTL comes before the pixels, as in decoders. The last eXIf counts; without one, as in Pillow,
    the last EXIF block in a text does.
    """
    if len(view) < 26 or bytes(view[8:16]) != b"\0\0\0\x0dIHDR":
        raise damaged()
    width, height = struct.unpack_from(">II", view, 16)
    if max(width, height) >= 2**31:
        raise damaged()
    frames = _Frames()
    has_palette = view[25] != _PALETTE
    exif = profile = None
    for kind, start, end in _chunks(view):
        has_palette = has_palette or kind == b"PLTE"
        if kind == b"IDAT" and not has_palette:
            raise damaged()
        if kind == b"eXIf" and _is_whole(view, start, end):
            exif = start + 8, end - 4
        elif kind in {b"tEXt", b"zTXt"} and view[start + 8 : start + 8 + len(_RAW_PROFILE)] == _RAW_PROFILE:
            profile = (kind, start, end) if _is_whole(view, start, end) else profile
        if kind == b"IDAT" or (kind in {b"acTL", b"fcTL"} and _counts(view, kind, start, end)):
            frames.see(kind, view[start + 8 : start + 12])
        if max_frames is not None and frames.number > max_frames:
            break
    orientation = read_orientation(view, *exif) if exif else _orientation_in_text(view, *profile) if profile else 1
    return Header(width, height, frames.number, orientation)


def _orientation_in_text(view: memoryview, kind: bytes, start: int, end: int) -> int:
    text = bytes(view[start + 8 + len(_RAW_PROFILE) : end - 4])
    if kind == b"zTXt":
        inflating = zlib.decompressobj()
        try:
            text = inflating.decompress(text[1:], _MAX_TEXT)
        except zlib.error:
            return 1
        if inflating.unconsumed_tail:
            return 1
    return read_raw_profile(text) if len(text) <= _MAX_TEXT else 1


def _counts(view: memoryview, kind: bytes, start: int, end: int) -> bool:
    """Tell whether a chunk has any effect: a broken one has none, nor has an acTL that is too short or announces no frame."""
    return _is_whole(view, start, end) and (
        kind != b"acTL" or (end - start >= 20 and any(view[start + 8 : start + 12]))
    )


class _Frames:
    """Counts as decoders do: an acTL must come before the pixels, and a default image that is no frame is one more picture."""

    def __init__(self) -> None:
        self._announced = self._controls = 0
        self._has_pixels = False

    def see(self, kind: bytes, content: memoryview) -> None:
        if kind == b"fcTL":
            self._controls += 1
        elif kind == b"acTL" and not self._has_pixels:
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
    one is broken, or a frame of an animation. Without `strip` the metadata stays.
    """
    kept.write(_SIGNATURE)
    last, is_interrupted, is_animated, has_pixels = b"", False, False, False
    for kind, start, end in _chunks(view):
        if kind == b"IEND":
            break
        if end > len(view) and kind in _PIXELS:  # whether pixels are missing, a decoder finds out
            kept.is_plain = False
            _close(view, kept, start, min(len(view), end - 4))
            break
        is_left_out = _is_left_out(view, kind, start, end, is_animated=is_animated)
        if is_left_out and (
            strip or last not in _PIXELS or end > len(view)
        ):  # what interrupts the pixels, decoders see
            is_interrupted = is_interrupted or last in _PIXELS
            continue
        is_animated = is_animated or (kind == b"acTL" and not has_pixels)
        if strip and kind not in _NEEDED:
            is_interrupted = is_interrupted or last in _PIXELS
            continue
        if is_interrupted and kind in _PIXELS:  # decoders take the pixels of one picture from neighbours alone
            kept.is_plain = False
        kept.keep(start, end)
        if kind == b"IHDR" and orientation != 1 and strip:
            data = b"eXIf" + orientation_block(orientation)
            kept.write(struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)))
        last, is_interrupted, has_pixels = kind, False, has_pixels or kind == b"IDAT"
    kept.write(_IEND)


def _is_left_out(view: memoryview, kind: bytes, start: int, end: int, *, is_animated: bool) -> bool:
    """Tell whether decoders leave a chunk out. Raises for one without which they make different things of the file."""
    if not _is_whole(view, start, end):
        if kind in _CRITICAL or (is_animated and kind in _ANIMATION):
            raise damaged()
        return True
    if not kind[0] & 0x20 and kind not in _CRITICAL:
        raise damaged()
    return kind == b"acTL" and not _counts(view, kind, start, end)


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
