"""Which uploads are accepted as images: the bytes decide, never the file name or the declared type.

A format is known by its first bytes. What its header says is read without decoding, and without trusting it.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from shared.errors import BadRequest, KeepsakeError, TooLarge, UnsupportedMedia
from shared.images.formats import gif, heif, jpeg, png, webp
from shared.images.formats.header import Buffer, damaged

if TYPE_CHECKING:
    from shared.settings import ImageSettings  # pydantic is nothing that a decoding process needs

HEAD_BYTES = 64
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_HEIF_FAMILY = frozenset({b"mif1", b"msf1", b"mif2"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_NAME_SHOWN = 80
_NAME_KEPT = 100
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")
# What clients declare that know no better, or whose author forgot to.
SAYS_NOTHING = frozenset(
    {"", "application/octet-stream", "binary/octet-stream", "multipart/form-data", "image", "*/*", "undefined", "null"}
)


class ImageFormat(Enum):
    """An accepted format, with the type and the file extension it is served under."""

    JPEG = ("image/jpeg", "jpg")
    PNG = ("image/png", "png")
    WEBP = ("image/webp", "webp")
    GIF = ("image/gif", "gif")
    AVIF = ("image/avif", "avif")
    HEIC = ("image/heic", "heic")

    def __init__(self, content_type: str, extension: str) -> None:
        self.content_type = content_type
        self.extension = extension


# What becomes a JPEG where it is kept for good: not every browser shows it.
CONVERTED = frozenset({ImageFormat.AVIF, ImageFormat.HEIC})
_NAMES = {ImageFormat.JPEG: "JPEG", ImageFormat.PNG: "PNG", ImageFormat.WEBP: "WebP", ImageFormat.GIF: "GIF"}
_READERS = {
    ImageFormat.JPEG: jpeg.read_header,
    ImageFormat.PNG: png.read_header,
    ImageFormat.WEBP: webp.read_header,
    ImageFormat.GIF: gif.read_header,
    ImageFormat.AVIF: heif.read_header,
    ImageFormat.HEIC: heif.read_header,
}


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


class ImageFacts(NamedTuple):
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
        return self.width if self.orientation >= 5 else self.height


class PreparedImage(NamedTuple):
    """An image as it may be stored: its facts, width and height as displayed, size in bytes and sha256 in hex.

    `rewritten` where it was encoded anew, `converted_from` the format it had (`heic`, `avif`) where it has become a JPEG.
    `placeholder` is a ThumbHash in base64, `key` where it is stored already, if it is.
    """

    facts: ImageFacts
    width: int
    height: int
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


class ImageLimits(NamedTuple):
    """How large an image may be, and which formats are taken."""

    max_pixels: int = 64_000_000
    max_frames: int = 100
    accepted: frozenset[ImageFormat] = accepted_formats(heic=False)


def image_limits(settings: ImageSettings, *, without: AbstractSet[ImageFormat] = frozenset()) -> ImageLimits:
    """Return the limits that the settings say, for a service that does not take the formats `without`."""
    accepted = accepted_formats(heic=settings.heic_uploads == "on") - without
    return ImageLimits(settings.max_image_pixels, settings.max_image_frames, accepted)


def require_image(buffer: Buffer, *, declared_type: str | None, limits: ImageLimits, name: str = "") -> ImageFacts:
    """Return the facts of an acceptable image, from its header alone.

    `name` is a file name to begin the sentence of a refusal with. Raises `BadRequest` (`image_empty`),
    `UnsupportedMedia` (`heic_not_supported`, `unsupported_image`), `TooLarge` (`image_too_large`) or
    `NotAllowedValue` (`image_damaged`).
    """
    try:
        return _require_image(buffer, declared_type, limits)
    except KeepsakeError as refusal:
        raise named(refusal, name) from refusal.__cause__


def _require_image(buffer: Buffer, declared_type: str | None, limits: ImageLimits) -> ImageFacts:
    if not len(buffer):
        raise BadRequest("The image is empty. Please choose another file.", "image_empty")
    image_format = sniff(bytes(buffer[:HEAD_BYTES]))
    if image_format is ImageFormat.HEIC and image_format not in limits.accepted:
        raise UnsupportedMedia(
            "HEIC and HEIF photos are not supported. Please export the photo as JPEG and send it again.",
            "heic_not_supported",
        )
    declared = (declared_type or "").partition(";")[0].strip().lower()
    if image_format not in limits.accepted or not (declared in SAYS_NOTHING or declared.startswith("image/")):
        *others, last = (name for accepted, name in _NAMES.items() if accepted in limits.accepted)
        listed = f"{', '.join(others)} or {last}" if others else last
        raise UnsupportedMedia(f"This is not a supported image. Please send {listed}.", "unsupported_image")
    facts = read_facts(buffer, image_format, max_frames=limits.max_frames)
    if facts.pixels > limits.max_pixels or facts.frames > limits.max_frames:
        raise _too_large(facts, limits)
    return facts


def _too_large(facts: ImageFacts, limits: ImageLimits) -> TooLarge:
    megapixels = f"{limits.max_pixels / 1_000_000:g} megapixels"
    if facts.width * facts.height > limits.max_pixels:
        detail = f"The image has more than {megapixels}. Please send a smaller one."
    elif facts.frames > limits.max_frames:
        detail = f"The animation has more than {limits.max_frames} frames. Please send a shorter one."
    elif facts.frames == 1:
        detail = f"The image's parts have more than {megapixels}. Please send a smaller one."
    else:
        detail = f"The animation has more than {megapixels} over all frames. Please send a smaller one."
    return TooLarge(detail, "image_too_large")


def named(refusal: KeepsakeError, name: str) -> KeepsakeError:
    """Begin the refusal's sentence with a file name, cleaned and shortened; without a name leave it as it is."""
    shown = "".join(letter for letter in name if letter.isprintable())
    if shown:
        shown = shown if len(shown) <= _NAME_SHOWN else shown[: _NAME_SHOWN - 1] + "…"
        refusal.detail = f"{shown}: {refusal.detail}"
        refusal.args = (refusal.detail,)
    return refusal


def corrected_filename(filename: str | None, image_format: ImageFormat) -> str:
    """Make a file name safe: no folders, `[A-Za-z0-9._-]`, at most 100 characters, and the extension of the format."""
    base = re.split(r"[/\\]", filename or "")[-1]
    stem = _EXTENSION.sub("", re.sub(r"[^A-Za-z0-9._-]+", "_", base)).strip("._-")
    extension = f".{image_format.extension}"
    return (stem[: _NAME_KEPT - len(extension)] or "image") + extension
