"""How sharp a picture is, and its fingerprint: measures on pixels, in Pillow's own operations."""

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Callable

from PIL import Image, ImageChops, ImageFilter

from shared.images.photo_quality import Fingerprint

_MAX_SIDE = 2560
_CONTRAST_FLOOR = 8  # levels of 255; below, rounding and compression outweigh the picture
_NOISE = 2  # levels that rounding and compression add to a difference
_GRID = 32
_WAVES = 8
_ROUNDING = 0.3  # levels; weaker waves come out otherwise after re-encoding
_COSINES = [
    [
        math.sqrt((1 if wave == 0 else 2) / _GRID) * math.cos(math.pi * wave * (2 * at + 1) / (2 * _GRID))
        for at in range(_GRID)
    ]
    for wave in range(_WAVES)
]


def reduction(width: int, height: int) -> int:
    """Return by what factor (1, 2 or 4) `sharpness` wants a picture of this size reduced, to bound its work."""
    longest = max(width, height)
    return next((factor for factor in (1, 2) if longest <= _MAX_SIDE * factor), 4)


def sharpness(picture: Image.Image, factor: int) -> float:
    """Return how much of the contrast around it the steepest 4 pixels hold, from 0 to 1.

    `picture` is in grey, reduced by `factor`; the pixels meant here are those of the original. A sharp edge holds
    nearly all of its contrast within 4 pixels, one blurred by a Gaussian of radius 6 a quarter. The contrast of its own
    place is what counts, so it does not matter how much of the picture is in focus, or how dark it is. Slow gradients
    are taken away first: they have no edges that could be sharp. Where nothing is left, it is 1.
    """
    detail = ImageChops.subtract(picture, picture.filter(ImageFilter.BoxBlur(24 / factor)), 1, 128)
    detail = detail.filter(ImageFilter.BoxBlur(1.5 / factor))
    step = 4 // factor
    width, height = detail.width - step, detail.height - step
    if min(width, height) < 5 * 16 // factor:
        return 1.0
    here = detail.crop((0, 0, width, height))
    steepest = ImageChops.lighter(
        ImageChops.difference(here, detail.crop((step, 0, width + step, height))),
        ImageChops.difference(here, detail.crop((0, step, width, height + step))),
    )
    darkest = lightest = here
    for _ in range((16 // factor).bit_length() - 1):  # to blocks of 16 pixels of the original
        steepest = _halved(steepest, ImageChops.lighter)
        lightest = _halved(lightest, ImageChops.lighter)
        darkest = _halved(darkest, ImageChops.darker)
    around = ImageChops.subtract(lightest.filter(ImageFilter.MaxFilter(3)), darkest.filter(ImageFilter.MinFilter(3)))
    # The outermost blocks do not see all that is around them.
    inner = (1, 1, around.width - 1, around.height - 1)
    shares = sorted(
        (
            max(0, steep - _NOISE) / contrast
            for steep, contrast in zip(steepest.crop(inner).tobytes(), around.crop(inner).tobytes(), strict=True)
            if contrast >= _CONTRAST_FLOOR
        ),
        reverse=True,
    )
    place = max(2, len(shares) // 500)  # not the very best block: it may be a speck of noise
    return min(1.0, shares[place]) if place < len(shares) else 1.0


def _halved(picture: Image.Image, pick: Callable[[Image.Image, Image.Image], Image.Image]) -> Image.Image:
    """Make one pixel of four, the one that `pick` picks."""
    size = (picture.width // 2, picture.height // 2)
    first, second, third, fourth = (
        picture.transform(size, Image.Transform.AFFINE, (2, 0, dx - 0.5, 0, 2, dy - 0.5))
        for dx in (0, 1)
        for dy in (0, 1)
    )
    return pick(pick(first, second), pick(third, fourth))


def fingerprint(picture: Image.Image) -> Fingerprint:
    """Take the fingerprint of an upright picture in RGB."""
    tiny = picture.convert("L").convert("F").resize((_GRID, _GRID), Image.Resampling.BOX)
    levels = array("f", tiny.tobytes())
    rows = [levels[at : at + _GRID] for at in range(0, _GRID * _GRID, _GRID)]
    across = [[sum(map(operator.mul, wave, row)) for row in rows] for wave in _COSINES]
    strengths = [sum(map(operator.mul, wave, column)) for column in across for wave in _COSINES]
    # Square roots, so that the few slowest waves, which the light makes, do not outweigh what is in the picture.
    waves = array("b", (round(math.copysign(2 * math.sqrt(max(0, abs(s) - _ROUNDING)), s)) for s in strengths[1:]))
    return Fingerprint(waves.tobytes(), picture.resize((1, 1), Image.Resampling.BOX).tobytes())
