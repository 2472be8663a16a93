"""What is said about a customer's photo: too small, blurred, or the same picture again."""

from __future__ import annotations

from dataclasses import dataclass

MIN_SHORT_SIDE = 800
# Measured (tests/shared/images): photos, text, shapes and noise 0.57 and more, also slightly soft ones (Gaussian of
# radius 2); the same blurred with radius 6 at most 0.40, saved as JPEG of quality 40 at most 0.44.
MIN_SHARPNESS = 0.48
# Of the coarse waves that either picture shows, how many may differ; measured: re-encoded and resized copies at most
# 0.06, different pictures 0.3 and more.
_MAX_DIFFERENCE = 0.18
_MAX_COLOUR_DISTANCE = 10


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A picture's coarse look: which of its 63 slowest waves rise, which fall, and its mean colour (RGB)."""

    rising: int
    falling: int
    colour: tuple[int, int, int]

    def __str__(self) -> str:
        """Write it as 38 hexadecimal digits."""
        return f"{self.rising:016x}{self.falling:016x}" + bytes(self.colour).hex()

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        """Read what `str` wrote. Raises `ValueError`."""
        if len(text) != 38:
            raise ValueError("A fingerprint has 38 hexadecimal digits.")
        red, green, blue = bytes.fromhex(text[32:])
        return cls(int(text[:16], 16), int(text[16:32], 16), (red, green, blue))

    def is_near(self, other: Fingerprint) -> bool:
        """Tell whether both are the same picture, re-encoded or resized."""
        if any(abs(a - b) > _MAX_COLOUR_DISTANCE for a, b in zip(self.colour, other.colour, strict=True)):
            return False
        shown = (self.rising | self.falling | other.rising | other.falling).bit_count()
        differing = ((self.rising ^ other.rising) | (self.falling ^ other.falling)).bit_count()
        return differing <= _MAX_DIFFERENCE * shown


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """Short side in pixels, sharpness from 0 (blurred) to 1 (sharp, or nothing in it that could be), fingerprint."""

    short_side: int
    sharpness: float
    fingerprint: Fingerprint

    @property
    def is_small(self) -> bool:
        """Tell whether it is too small to model from."""
        return self.short_side < MIN_SHORT_SIDE

    @property
    def is_blurred(self) -> bool:
        """Tell whether nothing in it is sharp; a sharp photo never is, one blurred with a Gaussian of radius 6 is."""
        return self.sharpness < MIN_SHARPNESS


@dataclass(frozen=True, slots=True)
class Rendition:
    """A picture that was made: its size in pixels and in bytes."""

    width: int
    height: int
    size: int
