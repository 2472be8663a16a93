from __future__ import annotations

import subprocess
import sys

import pytest

from shared.images.validation import ImageFormat, is_heif, sniff
from tests.support import pictures


@pytest.mark.parametrize(
    ("data", "image_format", "content_type", "extension"),
    [
        (pictures.jpeg(), ImageFormat.JPEG, "image/jpeg", "jpg"),
        (pictures.png(), ImageFormat.PNG, "image/png", "png"),
        (pictures.webp(), ImageFormat.WEBP, "image/webp", "webp"),
        (pictures.gif(), ImageFormat.GIF, "image/gif", "gif"),
        (pictures.avif(), ImageFormat.AVIF, "image/avif", "avif"),
        (pictures.heic(), ImageFormat.HEIC, "image/heic", "heic"),
    ],
)
def test_the_first_bytes_tell_the_format(data, image_format, content_type, extension):
    assert sniff(data[:64]) == image_format
    assert (image_format.content_type, image_format.extension) == (content_type, extension)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"RIFF\0\0\0\0WAVE", b"GIF88a", pictures.svg(), pictures.html()])
def test_other_first_bytes_tell_no_format(data):
    assert sniff(data) is None


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"])
def test_a_photo_of_a_phone_is_known_by_its_brand(brand):
    assert is_heif(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1miaf")


def test_a_heic_brand_among_the_compatible_ones_counts():
    assert is_heif(b"\0\0\0\x1cftypMiHE\0\0\0\0mif1heicmiaf")


@pytest.mark.parametrize(
    "data", [pictures.avif(), b"\0\0\0\x18ftypavif\0\0\0\0mif1miaf", b"\0\0\0\x18ftypisom\0\0\0\0mp41", b"\0"]
)
def test_neither_avif_nor_a_film_is_a_photo_of_a_phone(data):
    assert not is_heif(data[:64])


def test_deciding_what_is_an_image_loads_no_decoder():
    code = (
        "import sys, shared.images.validation, shared.images.strip;"
        "sys.exit(any(name.split('.')[0] in {'PIL', 'multiprocessing'} for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
