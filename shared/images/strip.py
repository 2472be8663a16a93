"""An image without its metadata: nothing is decoded, and no pixel changes."""

from __future__ import annotations

from dataclasses import dataclass

from shared.images.formats import gif, jpeg, png, webp
from shared.images.formats.header import Buffer, Kept
from shared.images.validation import ImageFacts, ImageFormat

_CUT = {
    ImageFormat.JPEG: jpeg.cut,
    ImageFormat.PNG: png.cut,
    ImageFormat.WEBP: webp.cut,
    ImageFormat.GIF: gif.cut,
}


@dataclass(frozen=True, slots=True)
class Cut:
    """The pieces of a file; large ones are views of the buffer, which must outlive them.

    Where `is_plain` is False, decode both files and compare.
    """

    pieces: list[bytes | memoryview]
    is_plain: bool


def cut(buffer: Buffer, facts: ImageFacts) -> Cut:
    """Cut the file to what decides the pixels, the colour profile, the orientation.

    The orientation stays as an EXIF block of its own, written only where it is not 1. A missing end mark is set (a
    JPEG's is not). Raises `NotAllowedValue` (`image_damaged`) where the file is broken between its parts, and
    `CannotCutError` where a JPEG's metadata cannot be told from its pixels.
    """
    kept = Kept()
    with memoryview(buffer) as view:
        _CUT[facts.format](view, kept, facts.orientation)
    pieces = _pieces(buffer, kept)
    if facts.format is ImageFormat.WEBP:
        pieces[0] = b"RIFF" + (sum(map(len, pieces)) - 8).to_bytes(4, "little") + b"WEBP"
    return Cut(pieces, kept.is_plain)


def mended(data: bytes, facts: ImageFacts) -> bytes:
    """Return the file with its metadata, changed only where strict decoders refuse what others show. Raises as `cut` does."""
    if facts.format not in {ImageFormat.PNG, ImageFormat.GIF}:
        return data
    kept = Kept()
    with memoryview(data) as view:
        (png if facts.format is ImageFormat.PNG else gif).cut(view, kept, facts.orientation, strip=False)
    return b"".join(_pieces(data, kept))


def _pieces(buffer: Buffer, kept: Kept) -> list[bytes | memoryview]:
    return [span if isinstance(span, bytes) else memoryview(buffer)[slice(*span)] for span in kept.spans]
