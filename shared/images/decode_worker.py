"""What a worker does with images: they are cut, decoded and placed here, and decoded nowhere else."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from PIL import Image

from shared.errors import KeepsakeError
from shared.images import sharpness
from shared.images.colour import eight_bit, srgb
from shared.images.decoding import Settled, frames_of, opened, settle
from shared.images.photo_quality import PhotoFacts, PhotoLook, PreparedPhoto, Rendition
from shared.images.placeholder import SIDE, placeholder
from shared.images.validation import ImageFacts, ImageLimits, PreparedImage, accepted_formats, require_image

__all__ = ["inspect", "prepare", "prepare_photo", "rendition", "thumbnail", "thumbnail_and_inspect"]

_MAX_WEBP_SIDE = 16_383
_NO_LIMITS = ImageLimits(2**62, 2**31, accepted_formats(heic=True))
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def prepare(
    source: bytes | Path,
    file: Path | None,
    declared_type: str | None,
    limits: ImageLimits,
    *,
    strip: bool = True,
    place: Callable[[Path, str], str | None] | None = None,
) -> PreparedImage:
    """Decode all of `source`, an image's bytes or its file, and make the `file` to be stored.

    With `strip` that has no metadata. HEIC and AVIF become JPEGs. Where nothing had to change and `source` is a file, it is
    renamed to `file`. Then `place` takes `file` and the extension of its format, and returns the key it gave it, or None.
    Raises what `require_image` and `place` do, `image_damaged` where anything cannot be decoded, and OSError.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    settled = settle(data, require_image(data, declared_type=declared_type, limits=limits))
    preview = placeholder(_require_whole(settled))
    stored = settled.data if strip or settled.converted_from else data
    key = None
    if file is not None:
        if isinstance(source, Path) and stored == data:
            source.rename(file)
        else:
            _create(stored, file)
        key = place(file, settled.facts.format.extension) if place else None
    return PreparedImage(
        settled.facts,
        settled.facts.display_width,
        settled.facts.display_height,
        len(stored),
        hashlib.sha256(stored).hexdigest(),
        preview,
        rewritten=settled.rewritten and strip,
        converted_from=settled.converted_from,
        key=key,
    )


def prepare_photo(
    file: Path, data: bytes | None, limits: ImageLimits, place: Callable[[Path, str], str | None] | None
) -> PreparedPhoto:
    """Decode all of a photo, looking at it with the same decode; `place` may give its `file` a key, as it was sent.

    Where its bytes are given as `data`, the file is made for `place`. Raises what `prepare` does.
    """
    content = file.read_bytes() if data is None else data
    sent = require_image(content, declared_type=None, limits=limits)
    settled = settle(content, sent)
    look = key = None
    try:
        with opened(settled.data, settled.facts) as picture:
            measured, small = _measured(settled.facts, picture, 400)
            _load_others(picture)
            look = PhotoLook(measured, _encoded(small, "webp", 80))
    except KeepsakeError:  # damaged, or larger than can be looked at
        small = _require_whole(settled)
    preview = placeholder(small)
    if place is not None:
        if data is not None:
            _create(data, file)
        key = place(file, sent.format.extension)
    return PreparedPhoto(settled.facts.display_width, settled.facts.display_height, preview, look, key)


def rendition(
    source: Path, target: Path, *, max_width: int, image_format: Literal["webp", "jpeg"], quality: int
) -> Rendition:
    """Write an upright copy no wider than `max_width` pixels, and no larger than the original, without metadata."""
    with _opened(source) as (facts, picture):
        scale = min(1.0, max_width / facts.display_width, _MAX_WEBP_SIDE / facts.display_height)
        upright = _upright(_drafted(picture, scale), facts, scale)
        data = _encoded(upright, image_format, quality)
    return _written(upright, data, target)


def thumbnail(source: Path, target: Path, *, max_side: int = 400) -> Rendition:
    """Write an upright WebP whose sides are at most `max_side` pixels, without metadata."""
    with _opened(source) as (facts, picture):
        scale = min(1.0, max_side / max(facts.width, facts.height))
        upright = _upright(_drafted(picture, scale), facts, scale)
        data = _encoded(upright, "webp", 80)
    return _written(upright, data, target)


def inspect(source: Path) -> PhotoFacts:
    """Measure a photo: how large, how sharp, and its fingerprint."""
    with _opened(source) as (facts, picture):
        return _measured(facts, picture, 400)[0]


def thumbnail_and_inspect(source: Path, target: Path, *, max_side: int = 400) -> tuple[Rendition, PhotoFacts]:
    with _opened(source) as (facts, picture):
        measured, small = _measured(facts, picture, max_side)
        data = _encoded(small, "webp", 80)
    return _written(small, data, target), measured


@contextmanager
def _opened(source: Path) -> Iterator[tuple[ImageFacts, Image.Image]]:
    """Open an image for decoding; whatever goes wrong with it inside the block is `image_damaged`."""
    data = source.read_bytes()
    settled = settle(data, require_image(data, declared_type=None, limits=_NO_LIMITS))
    with opened(settled.data, settled.facts) as picture:
        yield settled.facts, picture


def _require_whole(settled: Settled) -> Image.Image:
    """Decode every frame; return a small picture of the first: what passes can be shown in any size.

    A JPEG is decoded at an eighth of its size, which reads all of its data and finds the same faults.
    """
    facts = settled.facts
    scale = min(1.0, SIDE / max(facts.width, facts.height))
    with opened(settled.data, facts) as picture:
        small = _upright(_drafted(picture, scale), facts, scale)
        _load_others(picture)
    return small


def _load_others(picture: Image.Image) -> None:
    for number in range(1, frames_of(picture)):
        picture.seek(number)
        picture.load()


def _drafted(picture: Image.Image, scale: float) -> Image.Image:
    """Let a JPEG decode smaller, but at no less than twice the size that is wanted."""
    picture.draft(None, (max(1, int(picture.width * scale * 2)), max(1, int(picture.height * scale * 2))))
    return picture


def _upright(picture: Image.Image, facts: ImageFacts, scale: float) -> Image.Image:
    """Return the picture upright, in sRGB, as RGB or RGBA, at `scale` of its stored size, with nothing attached."""
    size = (max(1, round(facts.width * scale)), max(1, round(facts.height * scale)))
    small = eight_bit(picture)
    made = picture.info.get("made_profile")
    spare = min(small.width // size[0], small.height // size[1]) // 2
    if spare > 1:  # a cheap mean of pixels first; resize would do the same, but not with transparency
        small = small.reduce(spare)
    if small.size != size:
        small = small.resize(size, Image.Resampling.LANCZOS)
    alpha = small.getchannel("A") if small.mode == "RGBA" else None
    colour = srgb(small.convert("RGB") if alpha or made else small, made or picture.info.get("icc_profile"))
    if alpha:
        colour.putalpha(alpha)
    if facts.orientation in _UPRIGHT:
        colour = colour.transpose(_UPRIGHT[facts.orientation])
    colour.info.clear()
    return colour


def _measured(facts: ImageFacts, picture: Image.Image, max_side: int) -> tuple[PhotoFacts, Image.Image]:
    factor = sharpness.reduction(facts.width, facts.height)
    picture.draft(None, (max(1, facts.width // factor), max(1, facts.height // factor)))
    reduced = eight_bit(picture)
    remaining = max(1, round(factor * picture.width / facts.width))
    grey = reduced.convert("L")
    sharp = sharpness.sharpness(grey.reduce(remaining) if remaining > 1 else grey, factor)
    del grey
    small = _upright(picture, facts, min(1.0, max_side / max(facts.width, facts.height)))
    print_of = sharpness.fingerprint(_flattened(small))
    return PhotoFacts(min(facts.width, facts.height), round(sharp, 3), print_of), small


def _flattened(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def _encoded(picture: Image.Image, image_format: Literal["webp", "jpeg"], quality: int) -> bytes:
    sink = io.BytesIO()
    if image_format == "jpeg":
        _flattened(picture).save(sink, "JPEG", quality=quality, optimize=True, progressive=True)
    else:
        picture.save(sink, "WEBP", quality=quality)
    return sink.getvalue()


def _written(picture: Image.Image, data: bytes, target: Path) -> Rendition:
    _write(data, target)
    return Rendition(picture.width, picture.height, len(data))


def _create(data: bytes, file: Path) -> None:
    """Make a file that nobody else can read, locked while it is written: no sweep takes it for a dead process's."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        made.write(data)


def _write(data: bytes, target: Path) -> None:
    """Fill a file that the parent has made: one it has taken away again, after a cancellation, is not made anew."""
    with target.open("r+b") as file:
        file.write(data)
        file.truncate()
