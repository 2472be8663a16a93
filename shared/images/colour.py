"""From the colours that a decoder gives to 8 bits of sRGB."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageCms

_Matrix = tuple[tuple[float, float, float], ...]

_D65 = (0.3127, 0.3290)
# Chromaticities of white, red, green and blue by their numbers in ITU-T H.273, as cICP has them.
_PRIMARIES = {
    1: (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_SRGB_LIKE = frozenset({1, 6, 13, 14, 15})
_BRADFORD: _Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_D50 = (0.9642, 1.0, 0.8249)
_SAME_GAMMA = 0.05  # libpng's threshold: what differs less is sRGB


def eight_bit(picture: Image.Image) -> Image.Image:
    """Convert to a mode that can be resized: RGBA where anything is transparent, else L, RGB or CMYK."""
    picture.load()
    if picture.mode.startswith("I"):
        return _eight_bit_grey(picture)
    if picture.has_transparency_data:
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    return picture if picture.mode in {"L", "RGB", "CMYK"} else picture.convert("RGB")


def _eight_bit_grey(picture: Image.Image) -> Image.Image:
    """Take the higher byte of 16-bit grey; where one level is transparent, both bytes decide."""
    data = picture.tobytes("raw", "I;16")
    high = Image.frombytes("L", picture.size, data[1::2])
    clear = picture.info.get("transparency")
    if clear is None:
        return high
    low = Image.frombytes("L", picture.size, data[0::2])
    del data
    differs = ImageChops.lighter(
        *(
            part.point([255 * (level != byte) for level in range(256)])
            for part, byte in ((high, clear >> 8), (low, clear & 255))
        )
    )
    return Image.merge("RGBA", (high, high, high, differs))


def srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert 8-bit L, RGB or CMYK to sRGB; a profile that is broken or for other pixels is left out, as in browsers."""
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                picture, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):
            converted = None
        if converted:
            return converted
    return picture.convert("RGB")


def profile_of(chunks: dict[bytes, bytes]) -> bytes | None:
    """Make a colour profile of a PNG's cICP, or gAMA and cHRM chunks, as browsers read them; None for sRGB.

    cICP counts before iCCP, sRGB before gAMA and cHRM (PNG, third edition, 4.3). The HDR transfers (PQ, HLG) are not
    known.
    """
    cicp = chunks.get(b"cICP", b"")
    if len(cicp) == 4 and cicp[2:] == b"\0\1" and (made := profile_of_code_points(*cicp[:2])):
        return made
    if b"iCCP" in chunks or b"sRGB" in chunks:
        return None
    white_and_primaries = struct.unpack(">8I", chunks[b"cHRM"]) if len(chunks.get(b"cHRM", b"")) == 32 else ()
    gamma = int.from_bytes(chunks.get(b"gAMA", b""), "big") / 100_000
    if not white_and_primaries and (not gamma or abs(gamma * 2.2 - 1) < _SAME_GAMMA):
        return None
    primaries = tuple(value / 100_000 for value in white_and_primaries) or _PRIMARIES[1]
    return _profile(primaries, min(1 / gamma, 255) if gamma else None)


def profile_of_code_points(primaries: int, transfer: int) -> bytes | None:
    """Make a colour profile of numbers of ITU-T H.273; None for those that are not known, as HDR's transfers are not."""
    if primaries not in _PRIMARIES or (transfer not in _GAMMAS and transfer not in _SRGB_LIKE):
        return None
    return _profile(_PRIMARIES[primaries], _GAMMAS.get(transfer))


def _profile(primaries: Sequence[float], gamma: float | None) -> bytes | None:
    """Write an ICC profile of three primaries and one curve (a power, or sRGB's); None where the primaries span nothing."""
    try:
        columns = _to_d50(primaries)
    except ZeroDivisionError:
        return None
    if gamma is None:
        curve = b"para" + struct.pack(
            ">IHH5i", 0, 3, 0, *map(_fixed, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
        )
    else:
        curve = b"curv" + struct.pack(">IIH2x", 0, 1, round(gamma * 256))
    tags = {b"wtpt": _xyz(_D50)}
    for colour, column in zip(b"rgb", columns, strict=True):
        tags[bytes([colour]) + b"XYZ"] = _xyz(column)
        tags[bytes([colour]) + b"TRC"] = curve
    table, data = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value
    body = struct.pack(">I", len(tags)) + table + data
    head = struct.pack(">I4xI", 128 + len(body), 0x04200000) + b"mntrRGB XYZ "
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", *map(_fixed, _D50))
    return head.ljust(128, b"\0") + body


def _fixed(value: float) -> int:
    if not math.isfinite(value) or abs(value) > 32_000:
        raise ZeroDivisionError
    return round(value * 65536)


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *map(_fixed, values))


def _to_d50(primaries: Sequence[float]) -> list[tuple[float, float, float]]:
    """Return XYZ of red, green and blue, adapted from their white to the D50 of ICC profiles (Bradford)."""
    white, *colours = ((x / y, 1.0, (1 - x - y) / y) for x, y in zip(primaries[::2], primaries[1::2], strict=True))
    columns: _Matrix = tuple(zip(*colours, strict=True))
    strengths = _times(_inverse(columns), white)
    cones, target = _times(_BRADFORD, white), _times(_BRADFORD, _D50)
    scaled: _Matrix = tuple(
        (row[0] * to / of, row[1] * to / of, row[2] * to / of)
        for row, of, to in zip(_BRADFORD, cones, target, strict=True)
    )
    back = _inverse(_BRADFORD)
    return [
        _times(back, _times(scaled, (x * strength, y * strength, z * strength)))
        for (x, y, z), strength in zip(colours, strengths, strict=True)
    ]


def _times(matrix: _Matrix, vector: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return first, second, third


def _inverse(matrix: _Matrix) -> _Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    rows = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return tuple((x / determinant, y / determinant, z / determinant) for x, y, z in rows)
