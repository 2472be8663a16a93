"""HEIC photos as phones write them, made with pillow-heif, and what only looks like one."""

from __future__ import annotations

import io
import struct
from typing import Any

import pillow_heif
from PIL import Image

from tests.support import pictures

PHOTO = pictures.photo(320, 240)


def heic(picture: Image.Image = PHOTO, **options: Any) -> bytes:
    """Encode with pillow-heif: `exif`, `icc_profile`, `tile_size` for a grid as phones have it, `quality`."""
    sink = io.BytesIO()
    made = pillow_heif.from_pillow(picture)
    made.save(sink, **options)
    return sink.getvalue()


def turned(**options: Any) -> bytes:
    """Make one that lies on its side, with a camera and a place in its EXIF: 240 by 320 as displayed."""
    return heic(exif=pictures.exif(6, gps=True).tobytes(), **options)


def of_ten_bits() -> bytes:
    """Make one of 10 bits a channel."""
    deep = b"".join(struct.pack("<H", level) for pixel in range(64 * 48) for level in (pixel * 21 % 65536,) * 3)
    sink = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (64, 48), deep).save(sink)
    return sink.getvalue()


def of_ten_bits_grey() -> bytes:
    """Make one in grey, 10 bits a pixel: from black on the left to white on the right, 64 by 48."""
    deep = b"".join(struct.pack("<H", x * 65535 // 63) for _ in range(48) for x in range(64))
    sink = io.BytesIO()
    pillow_heif.from_bytes("I;16", (64, 48), deep).save(sink)
    return sink.getvalue()


def with_depth() -> bytes:
    """Make one with a depth image beside it, as portraits have it: a second item, made the first one's auxiliary."""
    made = pillow_heif.from_pillow(PHOTO)
    made.add_from_pillow(PHOTO.resize((160, 120)).convert("L"))
    sink = io.BytesIO()
    made.save(sink)
    data = bytearray(sink.getvalue())
    kind = box(b"auxC", bytes(4), b"urn:mpeg:hevc:2015:auxid:2\0")
    refers = box(b"iref", bytes(4), box(b"auxl", struct.pack(">HHH", 2, 1, 1)))
    added = len(kind) + 1 + len(refers)

    def grow(at: int, by: int) -> None:
        data[at : at + 4] = struct.pack(">I", struct.unpack_from(">I", data, at)[0] + by)

    ipma = data.index(b"ipma") - 4
    end = ipma + struct.unpack_from(">I", data, ipma)[0]
    for name, by in ((b"meta", added), (b"iprp", len(kind) + 1), (b"ipco", len(kind)), (b"ipma", 1)):
        grow(data.index(name) - 4, by)
    for item in range(2):  # where its bytes begin stands behind its number
        grow(data.index(b"iloc") + 12 + item * 18 + 4, added)
    data[end - 5] += 1  # the last item's properties: one more, the eighth
    return bytes(data[:ipma] + kind + data[ipma:end] + b"\x08" + refers + data[end:])


def box(kind: bytes, *parts: bytes) -> bytes:
    """Make one box."""
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def boxes(
    *,
    brand: bytes = b"heic",
    item: bytes = b"hvc1",
    size: tuple[int, int] = (64, 48),
    items: int = 1,
    more: bytes = b"",
) -> bytes:
    """Make the boxes of a still without pixels: `items` of one type, all of one size, the first of them primary."""
    entries = b"".join(
        box(b"infe", b"\2\0\0\0" + struct.pack(">HH", number, 0) + item + b"\0") for number in range(1, items + 1)
    )
    properties = box(b"ipco", box(b"ispe", bytes(4) + struct.pack(">II", *size)))
    of_items = b"".join(struct.pack(">HBB", number, 1, 1) for number in range(1, items + 1))
    meta = box(
        b"meta",
        bytes(4),
        box(b"pitm", bytes(4) + struct.pack(">H", 1)),
        box(b"iinf", bytes(4) + struct.pack(">H", items) + entries),
        box(b"iprp", properties, box(b"ipma", bytes(4) + struct.pack(">I", items) + of_items)),
    )
    return box(b"ftyp", brand + bytes(4) + b"mif1" + (b"avif" if item == b"av01" else b"heic")) + meta + more


def avif_grid(frame: bytes, tiles: int, claimed: tuple[int, int], canvas: tuple[int, int]) -> bytes:
    """Make an AVIF of one column of tiles, all of them the item of `frame`, an AVIF; each claims a size of its own."""
    at = frame.index(b"mdat") + 4
    inside = frame[at : at - 8 + struct.unpack_from(">I", frame, at - 8)[0]]
    grid = struct.pack(">BBBBHH", 0, 0, tiles - 1, 0, *canvas)
    data = grid + inside
    numbers = range(2, tiles + 2)
    entries = [box(b"infe", b"\2\0\0\0" + struct.pack(">HH", 1, 0) + b"grid\0")]
    entries += [box(b"infe", b"\2\0\0\0" + struct.pack(">HH", number, 0) + b"av01\0") for number in numbers]
    places = struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(grid))
    places += b"".join(struct.pack(">HHHHII", number, 1, 0, 1, len(grid), len(inside)) for number in numbers)
    av1c = frame.index(b"av1C") - 4
    properties = box(b"ispe", bytes(4) + struct.pack(">II", *canvas))
    properties += box(b"ispe", bytes(4) + struct.pack(">II", *claimed)) + frame[av1c : av1c + 12]
    properties += box(b"pixi", bytes(4) + b"\3\x08\x08\x08")
    of_items = struct.pack(">HBBB", 1, 2, 1, 4) + b"".join(
        struct.pack(">HBBBB", number, 3, 2, 0x83, 4) for number in numbers
    )
    meta = box(
        b"meta",
        bytes(4),
        box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
        box(b"pitm", bytes(4) + struct.pack(">H", 1)),
        box(b"iloc", b"\1\0\0\0\x44\0" + struct.pack(">H", tiles + 1) + places),
        box(b"iinf", bytes(4) + struct.pack(">H", tiles + 1) + b"".join(entries)),
        box(b"iref", bytes(4), box(b"dimg", struct.pack(f">HH{tiles}H", 1, tiles, *numbers))),
        box(b"iprp", box(b"ipco", properties), box(b"ipma", bytes(4) + struct.pack(">I", tiles + 1) + of_items)),
        box(b"idat", data),
    )
    return box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf") + meta
