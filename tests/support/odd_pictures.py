"""Images that are odd but honest, as others' reports have them: what browsers show of them is to be kept."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from tests.support import pictures
from tests.support.pictures import png_chunk

SIZE = (160, 160)
GRAIN = Image.effect_noise(SIZE, 90).convert("RGB")
MAKERS_TRAILER = (
    b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data1526000000000"
    b"\0\0\0\x18ftypmp42\0\0\0\0isommp42"
    + bytes(range(256))
    + pictures.SECRET.encode()
    + b"SEFH\x6a\0\0\0\x01\0\0\0SEFT"
)
_RED, _BLUE = Image.new("RGB", (6, 4), "red"), Image.new("RGB", (6, 4), "blue")
_GIF_SCREEN = slice(6, 10)


def jpeg_with_a_stray(pair: bytes, **options: object) -> bytes:
    """Make a JPEG with a pair of bytes in its scan that looks like a marker; decoders go on at the next restart."""
    data = bytearray(pictures.saved(GRAIN, "JPEG", quality=80, restart_marker_rows=1, **options))
    at = data.index(b"\xff\xda") + 314
    data[at : at + 2] = pair
    return bytes(data)


def jpeg_of_scans_with_metadata_between() -> bytes:
    """Make a progressive JPEG with a comment between two scans."""
    data = pictures.saved(GRAIN, "JPEG", progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    while data[second - 2 : second] == b"\xff\xc4":
        second -= 2
    comment = b"\xff\xfe" + struct.pack(">H", len(pictures.SECRET) + 2) + pictures.SECRET.encode()
    return data[:second] + comment + data[second:]


def jpeg_with_late_jfif() -> bytes:
    """Make a JPEG whose JFIF segment comes second and Adobe's, which asks for other colours, third: JFIF counts."""
    data = pictures.saved(Image.new("RGB", (16, 16), (200, 120, 40)), "JPEG")
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"
    return data[:2] + b"\xff\xfe\0\x04hi" + data[2:20] + adobe + data[20:]


def jpeg_with_a_long_orientation(orientation: int = 6) -> bytes:
    """Make a JPEG whose orientation is a LONG, as some programs write it."""
    block = b"Exif\0\0MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x0112, 4, 1, orientation, 0)
    data = pictures.jpeg(40, 24)
    return data[:20] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[20:]


def jpeg_with_exif(*blocks: bytes) -> bytes:
    """Make a JPEG with EXIF segments."""
    data = pictures.jpeg(40, 24)
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block for block in blocks)
    return data[:20] + segments + data[20:]


def orientations(*values: int) -> bytes:
    """Write an EXIF block that holds the orientation several times."""
    entries = b"".join(struct.pack(">HHIHH", 0x0112, 3, 1, value, 0) for value in values)
    return b"MM\0*" + struct.pack(">IH", 8, len(values)) + entries + bytes(4)


def raw_profile(orientation: int) -> bytes:
    """Write an EXIF block as ImageMagick does where a format has only text."""
    block = b"Exif\0\0" + orientations(orientation)
    return b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())


def jpeg_with_metadata_behind_its_scans(**options: object) -> bytes:
    """Make a JPEG with a comment and an EXIF segment between its last scan and its end mark."""
    comment = b"\xff\xfe" + struct.pack(">H", len(pictures.SECRET) + 2) + pictures.SECRET.encode()
    return pictures.saved(GRAIN, "JPEG", **options)[:-2] + comment + b"\xff\xe1\0\x08Exif\0\0" + b"\xff\xd9"


def _png(*chunks: bytes, depth: int = 8, kind: int = 2, size: tuple[int, int] = (4, 1)) -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks) + png_chunk(b"IEND", b"")


def _pixels(row: bytes) -> bytes:
    return png_chunk(b"IDAT", zlib.compress(b"\0" + row))


def png_with(chunk: bytes, picture: Image.Image = _RED, **options: object) -> bytes:
    """Make a PNG with a chunk before its pixels."""
    data = pictures.saved(picture, "PNG", **options)
    return data[:33] + chunk + data[33:]


def png_with_gamma(gamma: float = 1.0, picture: Image.Image = _RED) -> bytes:
    """Make a PNG with a gAMA chunk."""
    return png_with(png_chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000))), picture)


def grey_of_16_bits_with_a_transparent_level() -> bytes:
    """Make four grey pixels of 16 bits, the last of them transparent, its neighbour nearly the same."""
    return _png(png_chunk(b"tRNS", b"\xff\xfe"), _pixels(bytes.fromhex("0000 8000 ffff fffe")), depth=16, kind=0)


def palette_image_without_palette() -> bytes:
    """Make what looks like a PNG with a palette; it has none, so nobody knows its colours."""
    return _png(_pixels(b"\0\1\2\3"), kind=3)


def _acTL(frames: int) -> bytes:  # noqa: N802 - the chunk's name
    return png_chunk(b"acTL", struct.pack(">II", frames, 0))


def _fcTL() -> bytes:  # noqa: N802
    return png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 6, 4, 0, 0, 1, 10, 0, 0))


def bad_checksum(chunk: bytes) -> bytes:
    """Change a chunk's checksum."""
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def _gif() -> bytearray:
    return bytearray(pictures.saved(_RED, "GIF"))


def gif_of_no_screen() -> bytes:
    """Make a GIF whose screen is 0 by 0: its first frame's size counts."""
    data = _gif()
    data[_GIF_SCREEN] = bytes(4)
    return bytes(data)


ODD: dict[str, bytes] = {
    "jpeg with FF 01 in its scan": jpeg_with_a_stray(b"\xff\x01"),
    "jpeg with FF 9F in its scan": jpeg_with_a_stray(b"\xff\x9f"),
    "jpeg with FF E1 in its scan": jpeg_with_a_stray(b"\xff\xe1"),
    "jpeg with FF FE in its scan": jpeg_with_a_stray(b"\xff\xfe"),
    "jpeg with a late JFIF segment": jpeg_with_late_jfif(),
    "jpeg whose orientation is a LONG": jpeg_with_a_long_orientation(),
    "jpeg without an end mark": pictures.saved(GRAIN, "JPEG")[:-2],
    "jpeg without an end mark, with a maker's trailer": pictures.saved(GRAIN, "JPEG")[:-2] + MAKERS_TRAILER,
    "progressive jpeg without an end mark, with a maker's trailer": pictures.saved(GRAIN, "JPEG", progressive=True)[:-2]
    + MAKERS_TRAILER,
    "jpeg with metadata between its scans": jpeg_of_scans_with_metadata_between(),
    "jpeg with metadata behind its scan": jpeg_with_metadata_behind_its_scans(),
    "jpeg with restart markers and metadata behind its scan": jpeg_with_metadata_behind_its_scans(
        restart_marker_rows=1
    ),
    "progressive jpeg with metadata behind its scans": jpeg_with_metadata_behind_its_scans(progressive=True),
    "jpeg with two orientations": jpeg_with_exif(orientations(6, 8)),
    "jpeg with two orientations, the second one upright": jpeg_with_exif(orientations(8, 1)),
    "jpeg with two orientations, the first one invalid": jpeg_with_exif(orientations(9, 6)),
    "jpeg with two EXIF segments": jpeg_with_exif(orientations(6), orientations(3)),
    "jpeg with EXIF in two segments": jpeg_with_exif(orientations(6)[:8], orientations(6)[8:]),
    "jpeg of 1000 by 3": pictures.jpeg(1000, 3),
    "jpeg of 6000 by 3": pictures.jpeg(6000, 3),
    "png of 1 by 900": pictures.png(1, 900),
    "png without an end mark": pictures.saved(GRAIN, "PNG")[:-12],
    "png without an end mark, with a trailer": pictures.saved(GRAIN, "PNG")[:-12] + MAKERS_TRAILER,
    "png cut in its last checksum": pictures.saved(_RED, "PNG")[:-14],
    "png with a bad checksum in gAMA": png_with(bad_checksum(png_chunk(b"gAMA", b"\0\1\x86\xa0"))),
    "png with a bad checksum in its text": png_with(bad_checksum(png_chunk(b"tEXt", b"Comment\0x"))),
    "png with a bad checksum in tRNS": png_with(bad_checksum(png_chunk(b"tRNS", b"\0\xff\0\0\0\0"))),
    "png with a bad checksum in eXIf": png_with(bad_checksum(png_chunk(b"eXIf", orientations(6)))),
    "png with a bad checksum in one of two eXIf": png_with(
        png_chunk(b"eXIf", orientations(6)) + bad_checksum(png_chunk(b"eXIf", orientations(8)))
    ),
    "png with a bad checksum in fcTL": png_with(bad_checksum(_fcTL())),
    "png with a bad checksum in acTL": png_with(bad_checksum(_acTL(3_000_000))),
    "apng with a bad checksum in acTL": png_with(
        bad_checksum(_acTL(2)), _RED, save_all=True, append_images=[_BLUE], default_image=True
    ).replace(_acTL(1), b""),
    "png with an acTL of nothing": png_with(png_chunk(b"acTL", b"")),
    "png with an acTL of one byte": png_with(png_chunk(b"acTL", b"\xff")),
    "png with an acTL of one byte and a bad checksum": png_with(bad_checksum(png_chunk(b"acTL", b"\1"))),
    "png with an acTL of no frame": png_with(_acTL(0)),
    "png with two eXIf": png_with(png_chunk(b"eXIf", orientations(6)) + png_chunk(b"eXIf", orientations(8))),
    "png with an orientation in tEXt": png_with(png_chunk(b"tEXt", b"Raw profile type exif\0" + raw_profile(6))),
    "png with an orientation in zTXt": png_with(
        png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw_profile(5)))
    ),
    "png with an orientation in text and another in eXIf": png_with(
        png_chunk(b"tEXt", b"Raw profile type exif\0" + raw_profile(6)) + png_chunk(b"eXIf", orientations(3))
    ),
    "png with an EXIF text that is none": png_with(png_chunk(b"zTXt", b"Raw profile type exif\0\0none")),
    "png with a gamma of 1": png_with_gamma(),
    "png with frame control alone": png_with(_fcTL()),
    "png with animation control behind its pixels": pictures.saved(_RED, "PNG")[:-12] + _acTL(1) + pictures.png()[-12:],
    "png of 16-bit grey with a transparent level": grey_of_16_bits_with_a_transparent_level(),
    "apng whose default image is no frame": pictures.saved(
        _RED, "PNG", save_all=True, append_images=[_BLUE], default_image=True
    ),
    "gif without an end mark": bytes(_gif()[:-1]),
    "gif without its last two bytes": bytes(_gif()[:-2]),
    "gif of no screen": gif_of_no_screen(),
}
"""What is to be accepted; GIFs are the last three."""
