"""An image without its metadata: nothing is decoded, and no pixel changes."""

from __future__ import annotations

from collections.abc import Iterator

from shared.images.formats import gif, jpeg, png, webp
from shared.images.formats.header import Buffer, damaged
from shared.images.header import ImageFacts
from shared.images.sniff import ImageFormat

_ESSENTIALS = {
    ImageFormat.JPEG: jpeg.essential_spans,
    ImageFormat.PNG: png.essential_spans,
    ImageFormat.WEBP: webp.essential_spans,
    ImageFormat.GIF: gif.essential_spans,
}


def stripped(buffer: Buffer, facts: ImageFacts) -> list[bytes | memoryview]:
    """Return the pieces of the file without metadata: what decides the pixels, the colour profile, the orientation.

    The orientation stays as an EXIF block of its own, written only where it is not 1. Large pieces are views of
    `buffer`, which must outlive them. Raises `NotAllowedValue` (`image_damaged`) where the file breaks off before
    its end mark or is broken between its parts.
    """
    with memoryview(buffer) as view:
        spans = list(_joined(_ESSENTIALS[facts.format](view, facts.orientation)))
        if any(span[1] > len(view) for span in spans if isinstance(span, tuple)):
            raise damaged()
    pieces = [span if isinstance(span, bytes) else memoryview(buffer)[slice(*span)] for span in spans]
    if facts.format is ImageFormat.WEBP:
        pieces[0] = b"RIFF" + (sum(map(len, pieces)) - 8).to_bytes(4, "little") + b"WEBP"
    return pieces


def _joined(spans: Iterator[tuple[int, int] | bytes]) -> Iterator[tuple[int, int] | bytes]:
    """Make one span of neighbours, so that a file of tiny parts does not become as many objects."""
    last: tuple[int, int] | None = None
    for span in spans:
        if last and isinstance(span, tuple) and last[1] == span[0]:
            last = (last[0], span[1])
            continue
        if last:
            yield last
        last = span if isinstance(span, tuple) else None
        if isinstance(span, bytes) and span:
            yield span
    if last:
        yield last
