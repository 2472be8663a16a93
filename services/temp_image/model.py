"""What a temporary image is, and how one that cannot be had is refused."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from shared.errors import NotFound
from shared.images.formats.header import Buffer
from shared.images.validation import sniff

CLAIM_STANDS_S = 30.0
"""How long a claim stands after the last byte moved."""

_HEX_128 = re.compile(r"[0-9a-f]{32}\Z")
_HOLDER = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")


class ImageGone(NotFound):
    """The image was never there, was retrieved, or has expired: which of them, nobody learns."""

    def __init__(self) -> None:
        """Use one sentence for all; the address that was asked for holds an id that nobody else should see."""
        super().__init__("Image not found or expired", "image_not_found", {"Referrer-Policy": "no-referrer"})


class ClaimLapsed(NotFound):
    """The claim was confirmed or released, or another one has taken its place."""

    def __init__(self) -> None:
        """Use one sentence for all."""
        super().__init__("This claim is no longer held.", "claim_lapsed")


@dataclass(frozen=True, slots=True)
class ImageDescription:
    """What is told of an image without handing it out; `size` is in bytes."""

    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class ImageContent:
    """The bytes of an image; the buffer may be a view of a file."""

    content_type: str
    content: Buffer

    def release(self) -> None:
        """Let go of the file, as soon as nobody else sends from it; the content cannot be read any more."""
        if isinstance(self.content, memoryview):
            self.content.release()


@dataclass(frozen=True, slots=True)
class KeptUpload:
    """What was kept under an Idempotency-Key: the image's id, the SHA-256 of its bytes in hex, and its hour's end."""

    image_id: str
    sha256: str
    expires_at: float


def new_secret() -> str:
    """Return a new image id or claim: 128 random bits in hex."""
    return os.urandom(16).hex()


def content_type_of(head: bytes) -> str:
    """Return the type to serve an image under, by its first bytes."""
    image_format = sniff(head)
    return image_format.content_type if image_format else "application/octet-stream"


def parse_image_id(text: str) -> str:
    """Return `text` if it can be an image's id; raises ImageGone."""
    if _HEX_128.match(text) is None:
        raise ImageGone
    return text


def parse_claim(text: str) -> str:
    """Return `text` if it can be a claim; raises ClaimLapsed."""
    if _HEX_128.match(text) is None:
        raise ClaimLapsed
    return text


def parse_holder(text: str) -> str:
    """Return `text` if it can name a holder; raises ImageGone."""
    if _HOLDER.match(text) is None:
        raise ImageGone
    return text
