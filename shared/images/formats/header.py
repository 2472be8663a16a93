"""What the header readers of all formats share: the buffers they take, what they tell, and how they refuse."""

from __future__ import annotations

import mmap
from typing import NamedTuple

from shared.errors import NotAllowedValue

Buffer = bytes | bytearray | memoryview | mmap.mmap

# An encoder writes a part per 4-64 KiB. A file of more parts than this is made to cost time, not to be seen.
MAX_PARTS = 65_536


class Header(NamedTuple):
    """What a header says: the size as stored in pixels, the frames (1 for a still) and the EXIF orientation (1-8)."""

    width: int
    height: int
    frames: int = 1
    orientation: int = 1


def damaged() -> NotAllowedValue:
    """Build the refusal of an image that cannot be read, truncated or otherwise broken."""
    return NotAllowedValue("The image is damaged or incomplete. Please save it again and retry.", "image_damaged")
