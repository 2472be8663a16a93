"""What an image's header says about it, read without decoding and without trusting it."""

from __future__ import annotations

from dataclasses import dataclass

from shared.images.formats import gif, heif, jpeg, png, webp
from shared.images.formats.header import Buffer, damaged
from shared.images.sniff import ImageFormat

_READERS = {
    ImageFormat.JPEG: jpeg.read_header,
    ImageFormat.PNG: png.read_header,
    ImageFormat.WEBP: webp.read_header,
    ImageFormat.GIF: gif.read_header,
    ImageFormat.AVIF: heif.read_header,
    ImageFormat.HEIC: heif.read_header,
}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Format, size in pixels as stored, frames (1 for a still) and EXIF orientation (1-8, 1 is upright)."""

    format: ImageFormat
    width: int
    height: int
    frames: int
    orientation: int
    canvas_pixels: int = 0

    @property
    def pixels(self) -> int:
        """What a decoder needs for all frames together, in pixels."""
        return max(self.width * self.height, self.canvas_pixels) * self.frames

    @property
    def display_width(self) -> int:
        """Width as displayed: orientations 5 to 8 lie on their side."""
        return self.height if self.orientation >= 5 else self.width

    @property
    def display_height(self) -> int:
        """Height as displayed."""
        return self.width if self.orientation >= 5 else self.height


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image as it may be stored: its facts, size in bytes and sha256 in hex.

    `rewritten` where it was encoded anew, `converted_from` the format it had (`heic`, `avif`) where it has become a JPEG.
    `placeholder` is a ThumbHash in base64, `key` where it is stored already, if it is.
    """

    facts: ImageFacts
    size: int
    sha256: str
    placeholder: str
    rewritten: bool = False
    converted_from: str | None = None
    key: str | None = None


def read_facts(buffer: Buffer, image_format: ImageFormat, *, max_frames: int | None = None) -> ImageFacts:
    """Read the header of an image whose first bytes said `image_format`.

    Counting frames stops once more than `max_frames` are seen. The time is linear in the bytes, whatever they are.
    Raises `NotAllowedValue` (`image_damaged`) where the file ends before its size is known, or a side is 0.
    """
    with memoryview(buffer) as view:  # released at once, also when raising: an mmap can then be closed
        header = _READERS[image_format](view, max_frames)
    if not header.width or not header.height:
        raise damaged()
    return ImageFacts(image_format, *header)
