"""What is said about a customer's photo: too small, blurred, or the same picture again."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

MIN_SHORT_SIDE = 800
# Measured (tests/unit/shared/images/test_quality.py): photos, text, shapes and noise have 0.79 and more, slightly soft ones
# (a Gaussian of radius 2) 0.64; blurred with radius 6 at most 0.34, saved as JPEG of quality 40 after that 0.40.
MIN_SHARPNESS = 0.48
# Measured there too: copies of a quarter of the size as JPEG of quality 50 differ by 0.13 at most (noise, whose waves
# are the weakest; photos 0.01), different pictures by 0.53 and more.
_MAX_DIFFERENCE = 0.2
_MAX_COLOUR_DISTANCE = 10  # levels of 255
_WAVES = 63


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A picture's coarse look: the strength of its 63 slowest waves (one signed byte each) and its mean colour (RGB)."""

    waves: bytes
    colour: bytes

    def __str__(self) -> str:
        """Write it as 132 hexadecimal digits."""
        return (self.waves + self.colour).hex()

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        """Read what `str` wrote. Raises `ValueError`."""
        data = bytes.fromhex(text)
        if len(data) != _WAVES + 3:
            raise ValueError("A fingerprint has 132 hexadecimal digits.")
        return cls(data[:_WAVES], data[_WAVES:])

    def is_near(self, other: Fingerprint) -> bool:
        """Tell whether both are the same picture, re-encoded or resized."""
        if any(abs(a - b) > _MAX_COLOUR_DISTANCE for a, b in zip(self.colour, other.colour, strict=True)):
            return False
        ours, theirs = array("b", self.waves), array("b", other.waves)
        strength = sum(a * a + b * b for a, b in zip(ours, theirs, strict=True))
        difference = sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True))
        return difference <= _MAX_DIFFERENCE * strength


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """Short side in pixels, sharpness from 0 (blurred) to 1 (sharp, or nothing in it that could be), fingerprint."""

    short_side: int
    sharpness: float
    fingerprint: Fingerprint

    @property
    def is_small(self) -> bool:
        return self.short_side < MIN_SHORT_SIDE

    @property
    def is_blurred(self) -> bool:
        """Tell whether nothing in it is sharp; a sharp photo never is, one blurred with a Gaussian of radius 6 is."""
        return self.sharpness < MIN_SHARPNESS


@dataclass(frozen=True, slots=True)
class PhotoLook:
    """What is made of a photo: what was measured, and an upright WebP of it, its sides at most 400 pixels."""

    measured: PhotoFacts
    thumbnail: bytes


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A photo that is kept as it was sent: its sides in pixels as displayed, and its ThumbHash in base64.

    `look` is None where it was too large to be looked at; `key` where it is stored already, if it is.
    """

    width: int
    height: int
    placeholder: str
    look: PhotoLook | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Rendition:
    """A picture that was made: its size in pixels and in bytes."""

    width: int
    height: int
    size: int
