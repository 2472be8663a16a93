"""ThumbHash: a picture in about 25 bytes, to show while the photo itself loads (https://evanw.github.io/thumbhash/)."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from functools import lru_cache
from operator import mul

from PIL import Image

SIDE = 12  # pixels; the waves that are kept are at most seven to a side
_MAX_SIDE = 100
_PARTS = [value / 255 for value in range(256)]
_NOTHING = 1e-9  # what rounding leaves of a flat picture


def placeholder(picture: Image.Image) -> str:
    """Return the ThumbHash of an upright RGB or RGBA picture, in base64."""
    scale = min(1.0, SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    tiny = picture.convert("RGBA").resize(size, Image.Resampling.BOX)
    return base64.b64encode(thumb_hash(*size, tiny.tobytes())).decode()


def thumb_hash(width: int, height: int, rgba: bytes) -> bytes:
    """Return the ThumbHash of pixels whose colours are not multiplied with their alpha; at most 100 to a side."""
    if max(width, height) > _MAX_SIDE:
        raise ValueError(f"A side has at most {_MAX_SIDE} pixels.")
    red, green, blue, alpha = ([*map(_PARTS.__getitem__, rgba[channel::4])] for channel in range(4))
    opaque = sum(alpha)
    if has_alpha := opaque < width * height:
        means = [sum(map(mul, colour, alpha)) / (opaque or 1) for colour in (red, green, blue)]
        red, green, blue = (
            [mean * (1 - a) + value * a for value, a in zip(colour, alpha, strict=True)]
            for colour, mean in zip((red, green, blue), means, strict=True)
        )
    limit = 5 if has_alpha else 7
    across, down = (max(1, _round(limit * side / max(width, height))) for side in (width, height))
    channels = [
        ([(r + g + b) / 3 for r, g, b in zip(red, green, blue, strict=True)], max(3, across), max(3, down)),
        ([(r + g) / 2 - b for r, g, b in zip(red, green, blue, strict=True)], 3, 3),
        ([r - g for r, g in zip(red, green, strict=True)], 3, 3),
    ]
    if has_alpha:
        channels.append((alpha, 5, 5))
    (light, light_waves, light_scale), (yellow, yellow_waves, yellow_scale), (tint, tint_waves, tint_scale), *clear = (
        _waves(channel, width, height, nx, ny) for channel, nx, ny in channels
    )
    is_landscape = width > height
    head = _round(63 * light) | _round(31.5 + 31.5 * yellow) << 6 | _round(31.5 + 31.5 * tint) << 12
    head |= _round(31 * light_scale) << 18 | has_alpha << 23
    tail = (down if is_landscape else across) | _round(63 * yellow_scale) << 3 | _round(63 * tint_scale) << 9
    tail |= is_landscape << 15
    written = bytearray(head.to_bytes(3, "little") + tail.to_bytes(2, "little"))
    waves = [*light_waves, *yellow_waves, *tint_waves]
    for mean, more, scale in clear:
        written.append(_round(15 * mean) | _round(15 * scale) << 4)
        waves += more
    halves = [_round(15 * wave) for wave in waves]
    halves += [0] * (len(halves) % 2)
    written += bytes(low | high << 4 for low, high in zip(halves[::2], halves[1::2], strict=True))
    return bytes(written)


def _waves(channel: Sequence[float], width: int, height: int, nx: int, ny: int) -> tuple[float, list[float], float]:
    """Return a channel's mean, its slowest waves (each from 0 to 1 of the strongest), and the strongest's strength."""
    rows = [channel[at : at + width] for at in range(0, width * height, width)]
    columns = [[sum(map(mul, row, wave)) for row in rows] for wave in _cosines(width, nx)]
    strengths = [
        sum(map(mul, columns[cx], wave)) / (width * height)
        for cy, wave in enumerate(_cosines(height, ny))
        for cx in range(nx)
        if cx * ny < nx * (ny - cy)
    ]
    mean, *others = strengths
    scale = max(map(abs, others))
    if scale < _NOTHING:
        return mean, [0.0] * len(others), 0.0
    half = 0.5 / scale
    return mean, [0.5 + half * wave for wave in others], scale


@lru_cache(128)
def _cosines(length: int, number: int) -> list[list[float]]:
    return [[math.cos(math.pi / length * wave * (at + 0.5)) for at in range(length)] for wave in range(number)]


def _round(value: float) -> int:
    return math.floor(value + 0.5)
