"""HEIC and AVIF by their boxes (ISO/IEC 14496-12 and 23008-12): what a still is made of, before a decoder sees it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from shared.errors import NotAllowedValue, TooLarge, UnsupportedMedia
from shared.images.formats import av1
from shared.images.formats.header import Header, damaged

# A grid of 512-pixel tiles of 64 megapixels has 250; a phone's photo has some twenty more for depth, gain map and the like.
MAX_ITEMS = 400
_MAX_BOXES = 4000
_SEQUENCES = frozenset({b"hevc", b"hevx", b"hevm", b"hevs", b"msf1", b"avis", b"mif2"})
_PICTURES = frozenset({b"hvc1", b"av01", b"grid"})
_HDR = (b"\0\x10", b"\0\x12")  # the transfers PQ and HLG of ITU-T H.273
# Beside pictures: metadata, and how to map tones to a brighter screen, which decoders of stills leave alone.
_ITEMS = _PICTURES | {b"Exif", b"mime", b"uri ", b"tmap"}


@dataclass(frozen=True, slots=True)
class _Location:
    """Where an item's bytes are: (offset, length) of each part, in the idat box or in the file."""

    in_idat: bool
    parts: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Meta:
    primary: int | None = None
    types: dict[int, bytes] = field(default_factory=dict)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    of_item: dict[int, list[int]] = field(default_factory=dict)
    references: list[tuple[bytes, int, tuple[int, ...]]] = field(default_factory=list)
    locations: dict[int, _Location] = field(default_factory=dict)
    idat: tuple[int, int] | None = None


def read_header(view: memoryview, max_frames: int | None = None) -> Header:  # noqa: ARG001 - one signature for all
    """Read the size of the primary picture; `canvas_pixels` is what a decoder has to hold, by the AV1 frames themselves.

    Raises `UnsupportedMedia` (`unsupported_image`) for sequences, overlays, masks and codecs that no phone writes,
    `TooLarge` (`image_too_large`) for too many items, and `NotAllowedValue` (`image_damaged`).
    """
    try:
        meta = _read_meta(view)
        return _header(meta, view)
    except (struct.error, IndexError):  # a box that ends before its fields do
        raise damaged() from None


def code_points(view: memoryview) -> tuple[int, int]:
    """Return the primaries and the transfer that the primary picture's colr box names (ITU-T H.273); 2, 2 for nothing."""
    meta = _read_meta(view)
    for kind, body in (meta.properties[index - 1] for index in meta.of_item.get(meta.primary or 0, ())):
        if kind == b"colr" and body.startswith(b"nclx"):
            primaries, transfer = struct.unpack_from(">HH", body, 4)
            if primaries != 1 or transfer not in {1, 6, 13}:  # what everybody takes for sRGB needs no profile
                return primaries, transfer
    return 2, 2


def _header(meta: _Meta, view: memoryview) -> Header:
    if not _ITEMS.issuperset(meta.types.values()):
        raise _unsupported()
    if meta.primary is None or meta.types.get(meta.primary) not in _PICTURES:
        raise damaged()
    _require_shown_alike(meta)
    sizes: dict[int, tuple[int, int]] = {}
    turned = False
    for item, indices in meta.of_item.items():
        for index in indices:
            kind, body = meta.properties[index - 1] if 0 < index <= len(meta.properties) else (b"", b"")
            if kind == b"ispe":
                sizes[item] = struct.unpack_from(">II", body, 4)
            elif kind == b"irot" and item == meta.primary:
                turned = bool(body[0] & 1)
    pictures = [item for item, kind in meta.types.items() if kind in _PICTURES]
    if any(not all(sizes.get(item, (0, 0))) for item in pictures):
        raise damaged()
    width, height = sizes[meta.primary]
    decoded = set(pictures) - _thumbnails(meta)
    canvas = max(sizes[item][0] * sizes[item][1] for item in decoded)
    return Header(width, height, 1, 6 if turned else 1, max(canvas, _frames_pixels(meta, view, sizes, decoded)))


def _require_shown_alike(meta: _Meta) -> None:
    """Refuse a primary picture that the decoders here would not show as it is meant: HDR without a profile, a cropped AVIF."""
    indices = meta.of_item.get(meta.primary or 0, ())
    properties = [meta.properties[index - 1] for index in indices if 0 < index <= len(meta.properties)]
    colours = [body for kind, body in properties if kind == b"colr"]
    has_profile = any(body.startswith((b"prof", b"rICC")) for body in colours)
    if not has_profile and any(body[:4] == b"nclx" and body[6:8] in _HDR for body in colours):
        raise UnsupportedMedia(
            "HDR photos without a colour profile are not supported. Please export this one as JPEG.",
            "unsupported_image",
        )
    if b"av01" in meta.types.values() and any(kind == b"clap" for kind, _ in properties):
        raise NotAllowedValue(
            "An AVIF that hides a part of its picture is not supported. Please save it cropped and retry.",
            "image_damaged",
        )


def _thumbnails(meta: _Meta) -> set[int]:
    """Return the items that are nothing but thumbnails: no decoder of the primary picture looks at them."""
    small = {item for kind, item, _ in meta.references if kind == b"thmb"}
    alpha = {item for kind, item, _ in meta.references if kind == b"auxl"}
    tiles = {tile for kind, _, to in meta.references if kind == b"dimg" for tile in to}
    return small - alpha - tiles - {meta.primary or 0}


def _frames_pixels(
    meta: _Meta, view: memoryview, sizes: Mapping[int, tuple[int, int]], decoded: AbstractSet[int]
) -> int:
    """Return the pixels of the primary's AV1 frames, or of all others (alpha, gain map) together, if those are more.

    Raises `image_damaged` where a frame is not as large as its item claims: decoders allocate what the frame says.
    """
    frames = [item for item in decoded if meta.types[item] == b"av01"]
    for item in frames:
        if av1.frame_size(_data(meta, view, item)) != sizes[item]:
            raise damaged()
    shown = {meta.primary} | {
        tile for kind, item, to in meta.references if kind == b"dimg" and item == meta.primary for tile in to
    }
    pixels = [0, 0]
    for item in frames:
        pixels[item in shown] += sizes[item][0] * sizes[item][1]
    return max(pixels)


def _data(meta: _Meta, view: memoryview, item: int) -> memoryview:
    place = meta.locations.get(item)
    if place is None or not place.parts:
        raise damaged()
    first, last = (meta.idat or (0, 0)) if place.in_idat else (0, len(view))
    if sum(length for _, length in place.parts) > last - first or any(
        first + offset + length > last for offset, length in place.parts
    ):
        raise damaged()
    pieces = [view[first + offset : first + offset + length] for offset, length in place.parts]
    return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))


def _read_meta(view: memoryview) -> _Meta:
    found: _Meta | None = None
    for place, (kind, start, end) in enumerate(_boxes(view, 0, len(view))):
        if kind == b"moov" or (place == 0 and bytes(view[start : start + 4]) in _SEQUENCES):
            raise _unsupported()
        if kind == b"meta" and found is None:
            found = _Meta()
            for inner, first, last in _boxes(view, start + 4, _whole(end, len(view))):
                _read_box(found, view, inner, first, _whole(last, end))
    if found is None:
        raise damaged()
    return found


def _read_box(meta: _Meta, view: memoryview, kind: bytes, start: int, end: int) -> None:
    version = view[start] if start < end else 0
    if kind == b"pitm":
        (meta.primary,) = struct.unpack_from(">I" if version else ">H", view, start + 4)
    elif kind == b"iinf":
        at = start + (8 if version else 6)
        for inner, first, last in _boxes(view, at, end):
            if inner == b"infe":
                item, name = _read_entry(view, first, _whole(last, end))
                meta.types[item] = name
                if len(meta.types) > MAX_ITEMS:
                    raise TooLarge("The image has too many parts. Please export it as JPEG.", "image_too_large")
    elif kind == b"iprp":
        for inner, first, last in _boxes(view, start, end):
            if inner == b"ipco":
                meta.properties = [
                    (name, bytes(view[body : min(stop, body + 16)])) for name, body, stop in _boxes(view, first, last)
                ]
            elif inner == b"ipma":
                meta.of_item.update(_associations(view, first, _whole(last, end)))
    else:
        _read_places(meta, view, kind, start, end)


def _read_places(meta: _Meta, view: memoryview, kind: bytes, start: int, end: int) -> None:
    if kind == b"iloc":
        if meta.locations:
            raise damaged()
        meta.locations = _locations(view[:end], start)
    elif kind == b"idat":
        if meta.idat:
            raise damaged()
        meta.idat = start, end
    elif kind == b"iref":
        number = "I" if view[start] else "H"
        for inner, first, last in _boxes(view, start + 4, end):
            item, count = struct.unpack_from(f">{number}H", view[: _whole(last, end)], first)
            to = struct.unpack_from(f">{count}{number}", view[:last], first + struct.calcsize(f">{number}H"))
            meta.references.append((inner, item, to))


def _read_entry(view: memoryview, start: int, end: int) -> tuple[int, bytes]:
    version = view[start]
    if version < 2:
        raise _unsupported()
    item, kind = struct.unpack_from(">I2x4s" if version > 2 else ">H2x4s", view[:end], start + 4)
    return item, kind


def _associations(view: memoryview, start: int, end: int) -> Mapping[int, list[int]]:
    """Read which properties an item has, by their places, from 1."""
    version, wide = view[start], view[start + 3] & 1
    (entries,) = struct.unpack_from(">I", view, start + 4)
    found: dict[int, list[int]] = {}
    at = start + 8
    for _ in range(min(entries, _MAX_BOXES)):
        (item,) = struct.unpack_from(">I" if version else ">H", view, at)
        at += 4 if version else 2
        count = view[at]
        at += 1
        behind = at + count * (2 if wide else 1)
        if behind > end:
            raise damaged()
        places = struct.unpack_from(f">{count}{'H' if wide else 'B'}", view, at)
        found[item] = [place & (0x7FFF if wide else 0x7F) for place in places]
        at = behind
    return found


def _locations(view: memoryview, at: int) -> dict[int, _Location]:
    """Read an iloc box. What is in another file, in another item or of no length is `image_damaged`."""
    version, sizes = view[at], struct.unpack_from(">H", view, at + 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    at += 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(view):
            raise damaged()
        return int.from_bytes(view[at - size : at], "big")

    if not length_size:
        raise damaged()
    wide = 4 if version > 1 else 2
    found: dict[int, _Location] = {}
    for _ in range(number(wide)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        if number(2) or method > 1 or item in found:
            raise damaged()
        base = number(base_size)
        parts = []
        for _ in range(number(2)):
            number(index_size if version else 0)
            parts.append((base + number(offset_size), number(length_size)))
        found[item] = _Location(bool(method), tuple(parts))
    return found


def _boxes(view: memoryview, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start of the body, end) per box; the last one may end beyond `end`."""
    for _ in range(_MAX_BOXES):
        if start >= end:
            return
        size, kind = struct.unpack_from(">I4s", view[:end], start)
        body = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", view[:end], body)
            body += 8
        behind = start + size if size else end
        if behind < body:
            raise damaged()
        yield kind, body, behind
        start = behind
    raise damaged()


def _whole(behind: int, end: int) -> int:
    if behind > end:
        raise damaged()
    return behind


def _unsupported() -> UnsupportedMedia:
    return UnsupportedMedia(
        "HEIC and AVIF are taken as single photos alone. Please export this one as JPEG.", "unsupported_image"
    )
