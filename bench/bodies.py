"""What is uploaded: photos of 50 KB, of 1 MB and of 12 megapixels (5 MB), and the forms around them, in files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from bench.machine import TOOLS

BOUNDARY = "----keepsake-bench-9f86d081884c7d65"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
SIZES = {"50 KB": (50_000, (420, 315)), "1 MB": (1_000_000, (1840, 1380)), "12 MP": (5_000_000, (4000, 3000))}


@dataclass(frozen=True)
class Photo:
    """A JPEG: its size's name, its bytes, and the file they are in."""

    size: str
    data: bytes
    path: Path


@cache
def photo(size: str) -> Photo:
    """Make a JPEG of at most `size` with as much detail as a camera's."""
    path = TOOLS / "photos" / f"{size.replace(' ', '')}.jpg"
    if not path.exists():
        max_bytes, dimensions = SIZES[size]
        grain = [Image.effect_noise(dimensions, 40) for _ in range(3)]
        soft = Image.effect_noise((8, 6), 90).resize(dimensions, Image.Resampling.BICUBIC)
        picture = Image.blend(Image.merge("RGB", grain), soft.convert("RGB"), 0.6)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_best_below(picture, max_bytes))
    return Photo(size, path.read_bytes(), path)


def _best_below(picture: Image.Image, max_bytes: int) -> bytes:
    best = b""
    for quality in range(20, 100, 3):
        sink = io.BytesIO()
        picture.save(sink, "JPEG", quality=quality)
        if sink.tell() > max_bytes and best:
            break
        best = sink.getvalue()
    return best


@cache
def form_file(size: str, *texts: tuple[str, str]) -> Path:
    """Write the form that uploads the photo as `image` with these text fields; return its path."""
    image = photo(size)
    path = image.path.with_suffix(f".{'-'.join(name for name, _ in texts) or 'image'}.form")
    path.write_bytes(form(image.data, dict(texts)))
    return path


def form(data: bytes, texts: Mapping[str, str]) -> bytes:
    """Return a multipart body with the file last."""
    fields = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in texts.items()
    )
    head = 'Content-Disposition: form-data; name="image"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return f"{fields}--{BOUNDARY}\r\n{head}".encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
