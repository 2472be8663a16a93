"""What a file shows: opened for decoding however odd its container is, and settled to bytes that show the same."""

from __future__ import annotations

import hashlib
import io
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from PIL import AvifImagePlugin, GifImagePlugin, Image, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from shared.errors import KeepsakeError
from shared.images.colour import eight_bit, profile_of, profile_of_code_points
from shared.images.formats import heif, jpeg, png
from shared.images.formats.exif import EXIF_PREFIX, orientation_block
from shared.images.formats.header import CannotCutError, damaged
from shared.images.strip import Cut, cut, mended
from shared.images.validation import CONVERTED, ImageFacts, ImageFormat

# Not by Image.open: that looks for plugins, which takes longer than most of the work here, and takes a JPEG with a second
# picture for another format.
_PLUGINS: dict[ImageFormat, type[ImageFile]] = {
    ImageFormat.JPEG: JpegImagePlugin.JpegImageFile,
    ImageFormat.PNG: PngImagePlugin.PngImageFile,
    ImageFormat.WEBP: WebPImagePlugin.WebPImageFile,
    ImageFormat.GIF: GifImagePlugin.GifImageFile,
}
_ROWS = 64
_LAST_BLOCK = 256  # bytes
# Appended to a scan without an end: where they change a pixel, the scan had not reached it. With all restart markers, so
# that each interval that is missing finds its own.
_TAILS = tuple(
    b"".join(noise * 30 + bytes([0xFF, 0xD0 + number % 8]) for number in range(16))
    for noise in (b"\x55\xaa", b"\x92\x6d\x9b")
)


@dataclass(frozen=True, slots=True)
class Settled:
    """Bytes without metadata that every decoder reads alike, and their facts.

    `rewritten` where the pixels were encoded anew, `converted_from` the format that a JPEG was made of.
    """

    data: bytes
    facts: ImageFacts
    rewritten: bool = False
    converted_from: str | None = None


class Look(NamedTuple):
    """What a decoder shows of a file: its frames (size, milliseconds, digest of the pixels), loops and colours."""

    frames: tuple[tuple[tuple[int, int], float | None, bytes], ...]
    loop: int | None
    colours: tuple[object, ...]


def settle(data: bytes, facts: ImageFacts) -> Settled:
    """Free an image of its metadata, such that a decoder shows the same of it as of `data`.

    A container that is plain is cut without decoding. Any other is decoded before and after; a JPEG whose metadata cannot
    be cut from its pixels, or looks otherwise then, is encoded anew (quality 95, no chroma subsampling). HEIC and
    AVIF become JPEGs. Raises
    `NotAllowedValue` (`image_damaged`) where pixels are missing or cannot be kept.
    """
    if facts.format in CONVERTED:
        return _converted(data, facts)
    made = _cut(data, facts)
    if made is None:
        data = _closed(data, facts)
        made = _cut(data, facts)
    ours = b"".join(made.pieces) if made else None
    if made and ours and made.is_plain:
        return Settled(ours, facts)
    sent = mended(data, facts)
    seen = look(sent, facts)
    if ours is not None and _shows(ours, facts, seen):
        return Settled(ours, facts)
    if facts.format is not ImageFormat.JPEG:
        raise damaged()
    return Settled(_encoded_anew(sent, facts), facts, rewritten=True)


def _cut(data: bytes, facts: ImageFacts) -> Cut | None:
    try:
        return cut(data, facts)
    except CannotCutError:
        return None


@contextmanager
def opened(data: bytes, facts: ImageFacts) -> Iterator[ImageFile]:
    """Open settled or mended bytes for decoding; whatever goes wrong with them inside the block is `image_damaged`.

    The decoder may believe the image no larger than our own reader does, whose limits it would escape.
    """
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max(facts.width * facts.height, facts.canvas_pixels)
    try:
        with _PLUGINS[facts.format](io.BytesIO(data)) as picture:
            _require_as_announced(picture, facts)
            if facts.format is ImageFormat.PNG:
                _complete(picture, data)
            picture.decodermaxblock = len(data)  # not in pieces of 64 KiB
            yield picture
    except KeepsakeError:
        raise
    except Exception as error:  # decoders raise anything: OSError, SyntaxError, struct.error, MemoryError, …
        raise damaged() from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _require_as_announced(picture: Image.Image, facts: ImageFacts) -> None:
    frames = frames_of(picture)
    may_be_fewer = facts.format is ImageFormat.PNG  # frame controls may count for nothing
    if frames > facts.frames or (frames < facts.frames and not may_be_fewer):
        raise damaged()
    if picture.size != (facts.width, facts.height):
        raise damaged()


def frames_of(picture: Image.Image) -> int:
    """Return how many frames the decoder sees."""
    return getattr(picture, "n_frames", 1)


def look(data: bytes, facts: ImageFacts, *, at_an_eighth: bool = False) -> Look:
    """Decode every frame to its end, a JPEG at an eighth of its size where that will do. Raises `image_damaged`."""
    with opened(data, facts) as picture:
        if at_an_eighth:
            picture.draft(None, (max(1, facts.width // 8), max(1, facts.height // 8)))
        frames = []
        for number in range(frames_of(picture)):
            picture.seek(number)
            picture.load()
            frames.append((picture.size, picture.info.get("duration"), _digest(picture)))
        colours = tuple(picture.info.get(name) for name in ("icc_profile", "made_profile"))
        return Look(tuple(frames), picture.info.get("loop"), colours)


def _converted(data: bytes, facts: ImageFacts) -> Settled:
    """Make an upright JPEG of quality 90 with the colour profile; what is transparent becomes white, 10 bits become 8."""
    try:
        picture = (_decoded_avif if facts.format is ImageFormat.AVIF else _decoded_heic)(data)
        profile = picture.info.get("icc_profile") or profile_of_code_points(*heif.code_points(memoryview(data)))
        if picture.has_transparency_data:
            clear = picture.convert("RGBA")
            picture = Image.new("RGB", clear.size, "white")
            picture.paste(clear, mask=clear.getchannel("A"))
        sink = io.BytesIO()
        flat = eight_bit(picture)
        flat.info.clear()
        flat.save(sink, "JPEG", quality=90, icc_profile=profile)
    except Exception as error:  # as in `opened`
        raise damaged() from error
    made = ImageFacts(ImageFormat.JPEG, *flat.size, frames=1, orientation=1)
    return Settled(sink.getvalue(), made, converted_from=facts.format.extension)


def _decoded_avif(data: bytes) -> Image.Image:
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each takes memory, and the other worker has the other core
    with AvifImagePlugin.AvifImageFile(io.BytesIO(data)) as picture:
        picture.load()
        return ImageOps.exif_transpose(picture)  # Pillow writes there what the file says outside of its EXIF


def _decoded_heic(data: bytes) -> Image.Image:
    library: Any = import_module("pillow_heif")  # an extra
    library.options.THUMBNAILS = library.options.DEPTH_IMAGES = library.options.AUX_IMAGES = False
    library.options.DECODE_THREADS = 1
    with library.HeifImageFile(io.BytesIO(data)) as picture:
        picture.load()
        upright: Image.Image = picture.copy()  # libheif has turned it
        return upright


def _shows(data: bytes, facts: ImageFacts, seen: Look) -> bool:
    try:
        return look(data, facts) == seen
    except KeepsakeError:
        return False


def _digest(picture: Image.Image) -> bytes:
    """Digest the pixels, a few rows at a time: all at once they would be there twice."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((picture.mode, picture.info.get("transparency"))).encode())
    if picture.palette:
        digest.update(picture.palette.tobytes())
    for top in range(0, picture.height, _ROWS):
        digest.update(picture.crop((0, top, picture.width, min(top + _ROWS, picture.height))).tobytes())
    return digest.digest()


def _closed(data: bytes, facts: ImageFacts) -> bytes:
    """Set the end mark of a JPEG that has none, behind its last scan. Raises `image_damaged` where pixels are missing."""
    if facts.format is not ImageFormat.JPEG:
        return data
    with memoryview(data) as view:
        ends = jpeg.open_ends(view)

    for end in ends:
        scans = _Scans(data[:end], facts)
        if scans.are_whole(end):
            return data[: scans.end()] + jpeg.EOI
    if ends:
        raise damaged()
    return data


class _Scans:
    """Finds where the scans of a JPEG without an end mark end, by decoding what is before a place."""

    def __init__(self, data: bytes, facts: ImageFacts) -> None:
        self._data = data
        self._facts = facts
        self._all = {small: self._seen(len(data), b"", small=small) for small in (False, True)}

    def are_whole(self, end: int) -> bool:
        """Tell whether every pixel is there, and nothing that could follow changes one."""
        return self._all[False] is not None and all(
            self._seen(end, tail) == self._all[False] for tail in (b"", *_TAILS)
        )

    def end(self) -> int:
        """Return the first place before which every pixel is: the file's end, or where a trailer begins."""
        last = len(self._data)
        if not self.are_whole(last - 2):
            return last
        # Decoding at an eighth is fast, and misses no more than the end of the last block.
        near = bisect_left(range(last), x=True, key=self._shows_the_same)
        behind = near + _LAST_BLOCK
        if behind < last and self.are_whole(behind):
            return bisect_left(range(behind), x=True, lo=near, key=self.are_whole)
        return bisect_left(range(last), x=True, key=self.are_whole)

    def _shows_the_same(self, end: int) -> bool:
        return self._seen(end, _TAILS[0], small=True) == self._all[True]

    def _seen(self, end: int, tail: bytes, *, small: bool = False) -> Look | None:
        try:
            return look(self._data[:end] + tail + jpeg.EOI, self._facts, at_an_eighth=small)
        except KeepsakeError:
            return None


def _encoded_anew(data: bytes, facts: ImageFacts) -> bytes:
    with opened(data, facts) as picture:
        picture.load()
        profile = picture.info.get("icc_profile")
        picture.info.clear()  # it would be written again
        sink = io.BytesIO()
        exif = b"" if facts.orientation == 1 else EXIF_PREFIX + orientation_block(facts.orientation)
        picture.save(sink, "JPEG", quality=95, subsampling=0, icc_profile=profile, exif=exif)
    return b"".join(cut(sink.getvalue(), facts).pieces)


def _complete(picture: Image.Image, data: bytes) -> None:
    """Add to a PNG what Pillow does not read of its colours, as `made_profile`.

    The transparent colour is brought to the scale of the decoded pixels: Pillow keeps the number that is in the file.
    """
    clear = picture.info.get("transparency")
    with memoryview(data) as view:
        depth = view[24]
        picture.info["made_profile"] = profile_of(png.colour_chunks(view))
    if isinstance(clear, tuple) and depth == 16:
        picture.info["transparency"] = tuple(level >> 8 for level in clear)
    elif isinstance(clear, int) and picture.mode == "L" and depth < 8:
        picture.info["transparency"] = clear * 255 // ((1 << depth) - 1)
