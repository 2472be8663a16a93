"""Which uploads are accepted as images: the bytes decide, never the file name or the declared type."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import BadRequest, KeepsakeError, TooLarge, UnsupportedMedia
from shared.images.formats.header import Buffer
from shared.images.header import ImageFacts, read_facts
from shared.images.sniff import HEAD_BYTES, ImageFormat, accepted_formats, sniff

if TYPE_CHECKING:
    from shared.settings import ImageSettings  # pydantic is nothing that a decoding process needs

_NAME_SHOWN = 80
_NAME_KEPT = 100
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")
_NAMES = {ImageFormat.JPEG: "JPEG", ImageFormat.PNG: "PNG", ImageFormat.WEBP: "WebP", ImageFormat.GIF: "GIF"}


@dataclass(frozen=True, slots=True)
class ImageLimits:
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


def named(refusal: KeepsakeError, name: str) -> KeepsakeError:
    """Begin the refusal's sentence with a file name, cleaned and shortened; without a name leave it as it is."""
    shown = "".join(letter for letter in name if letter.isprintable())
    if shown:
        shown = shown if len(shown) <= _NAME_SHOWN else shown[: _NAME_SHOWN - 1] + "…"
        refusal.detail = f"{shown}: {refusal.detail}"
        refusal.args = (refusal.detail,)
    return refusal


def _require_image(buffer: Buffer, declared_type: str | None, limits: ImageLimits) -> ImageFacts:
    if not len(buffer):
        raise BadRequest("The image is empty. Please choose another file.", "image_empty")
    head = bytes(buffer[:HEAD_BYTES])
    image_format = sniff(head)
    if image_format is ImageFormat.HEIC and image_format not in limits.accepted:
        raise UnsupportedMedia(
            "HEIC and HEIF photos are not supported. Please export the photo as JPEG and send it again.",
            "heic_not_supported",
        )
    if image_format not in limits.accepted or not may_be_image(declared_type):
        *others, last = (name for accepted, name in _NAMES.items() if accepted in limits.accepted)
        listed = f"{', '.join(others)} or {last}" if others else last
        raise UnsupportedMedia(f"This is not a supported image. Please send {listed}.", "unsupported_image")
    facts = read_facts(buffer, image_format, max_frames=limits.max_frames)
    require_within(facts, limits)
    return facts


# What clients declare that know no better, or whose author forgot to.
SAYS_NOTHING = frozenset(
    {"", "application/octet-stream", "binary/octet-stream", "multipart/form-data", "image", "*/*", "undefined", "null"}
)


def may_be_image(declared_type: str | None) -> bool:
    """Tell whether a declared content type leaves the question to the bytes: an image type, or none worth the name."""
    declared = (declared_type or "").partition(";")[0].strip().lower()
    return declared in SAYS_NOTHING or declared.startswith("image/")


def require_within(facts: ImageFacts, limits: ImageLimits) -> None:
    """Raise `TooLarge` (`image_too_large`) for more pixels or frames than the limits allow."""
    megapixels = f"{limits.max_pixels / 1_000_000:g} megapixels"
    if facts.width * facts.height > limits.max_pixels:
        raise TooLarge(f"The image has more than {megapixels}. Please send a smaller one.", "image_too_large")
    if facts.frames > limits.max_frames:
        raise TooLarge(
            f"The animation has more than {limits.max_frames} frames. Please send a shorter one.",
            "image_too_large",
        )
    if facts.pixels > limits.max_pixels:
        if facts.frames == 1:
            raise TooLarge(
                f"The image's parts have more than {megapixels}. Please send a smaller one.", "image_too_large"
            )
        raise TooLarge(
            f"The animation has more than {megapixels} over all frames. Please send a smaller one.",
            "image_too_large",
        )


def corrected_filename(filename: str | None, image_format: ImageFormat) -> str:
    """Make a file name safe: no folders, `[A-Za-z0-9._-]`, at most 100 characters, and the extension of the format."""
    base = re.split(r"[/\\]", filename or "")[-1]
    stem = _EXTENSION.sub("", re.sub(r"[^A-Za-z0-9._-]+", "_", base)).strip("._-")
    extension = f".{image_format.extension}"
    return (stem[: _NAME_KEPT - len(extension)] or "image") + extension
