"""The image formats that are known by their first bytes."""

from __future__ import annotations

from enum import Enum

HEAD_BYTES = 64
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_HEIF_FAMILY = frozenset({b"mif1", b"msf1", b"mif2"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})


class ImageFormat(Enum):
    """An accepted format, with the type and the file extension it is served under."""

    JPEG = ("image/jpeg", "jpg")
    PNG = ("image/png", "png")
    WEBP = ("image/webp", "webp")
    GIF = ("image/gif", "gif")
    AVIF = ("image/avif", "avif")
    HEIC = ("image/heic", "heic")

    def __init__(self, content_type: str, extension: str) -> None:
        """Name the two columns of the table above."""
        self.content_type = content_type
        self.extension = extension


CONVERTED = frozenset({ImageFormat.AVIF, ImageFormat.HEIC})
"""What becomes a JPEG where it is kept for good: not every browser shows it."""


def sniff(head: bytes) -> ImageFormat | None:
    """Tell the format from the first bytes (12 are enough); None for anything that is not accepted anywhere."""
    if head.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageFormat.PNG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if head.startswith((b"GIF87a", b"GIF89a")):
        return ImageFormat.GIF
    if head[4:8] == b"ftyp":
        return ImageFormat.HEIC if is_heif(head) else ImageFormat.AVIF if _brands(head) & _AVIF_BRANDS else None
    return None


def accepted_formats(*, heic: bool) -> frozenset[ImageFormat]:
    """Return what is taken as an image: HEIC only where asked for, since nothing but an extra decodes it."""
    return frozenset(ImageFormat) if heic else frozenset(ImageFormat) - {ImageFormat.HEIC}


def is_heif(head: bytes) -> bool:
    """Tell HEIC and HEIF, the photos of a phone, from their `ftyp` brands; AVIF, which shares some, is not one."""
    if head[4:8] != b"ftyp":
        return False
    brands = _brands(head)
    if brands & _HEIF_BRANDS:
        return True
    return bool(brands & _HEIF_FAMILY) and not brands & _AVIF_BRANDS


def _brands(head: bytes) -> set[bytes]:
    end = min(int.from_bytes(head[:4], "big"), HEAD_BYTES)
    return {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}
