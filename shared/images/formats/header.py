"""What the readers of all formats share: the buffers they take, what they tell and keep, and how they refuse."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.errors import NotAllowedValue

Buffer = bytes | bytearray | memoryview | mmap.mmap

# An encoder writes a part per 4-64 KiB. A file of more parts than this is made to cost time, not to be seen.
MAX_PARTS = 65_536


class Header(NamedTuple):
    """What a header says: the size as stored in pixels, the frames (1 for a still) and the EXIF orientation (1-8).

    `canvas_pixels` is what a decoder may need for one frame, where that is more than width times height.
    """

    width: int
    height: int
    frames: int = 1
    orientation: int = 1
    canvas_pixels: int = 0


@dataclass(slots=True)
class Kept:
    """What is kept of a file, in order: spans of it and new bytes.

    It is plain as long as no decoder can take the rest otherwise than the file; where it is not, both are to be decoded
    and compared.
    """

    spans: list[tuple[int, int] | bytes] = field(default_factory=list)
    is_plain: bool = True

    def keep(self, start: int, end: int) -> None:
        """Keep a span; neighbours become one, so that a file of tiny parts does not become as many objects."""
        last = self.spans[-1] if self.spans else None
        if isinstance(last, tuple) and last[1] == start:
            self.spans[-1] = (last[0], end)
        elif end > start:
            self.spans.append((start, end))

    def write(self, data: bytes) -> None:
        if data:
            self.spans.append(data)


class CannotCutError(Exception):
    """The file has metadata where nothing may be touched: it can only be written anew."""


def damaged() -> NotAllowedValue:
    """Build the refusal of an image that cannot be read, truncated or otherwise broken."""
    return NotAllowedValue("The image is damaged or incomplete. Please save it again and retry.", "image_damaged")
