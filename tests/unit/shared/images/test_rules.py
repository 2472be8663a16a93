from __future__ import annotations

import mmap
import tempfile

import pytest

from shared.errors import BadRequest, KeepsakeError, NotAllowedValue, TooLarge, UnsupportedMedia
from shared.images.validation import ImageFormat, ImageLimits, corrected_filename, require_image
from tests.support import pictures

LIMITS = ImageLimits()


def refusal_of(data, declared_type=None, limits=LIMITS, name=""):
    with pytest.raises(KeepsakeError) as refusal:
        require_image(data, declared_type=declared_type, limits=limits, name=name)
    return refusal.value


@pytest.mark.parametrize(
    "declared_type",
    [
        None,
        "",
        "image/jpeg",
        "IMAGE/PNG",
        "image/png; charset=x",
        "application/octet-stream",
        " Application/Octet-Stream ;a=b",
        "binary/octet-stream",
        "multipart/form-data; boundary=x",
        "image",
        "image/*",
        "*/*",
        "undefined",
        "NULL",
    ],
)
def test_the_bytes_decide_whatever_image_type_is_declared(declared_type):
    assert require_image(pictures.jpeg(), declared_type=declared_type, limits=LIMITS).format is ImageFormat.JPEG


@pytest.mark.parametrize("declared_type", ["text/html", "application/json", "video/mp4", "images", "imagex/png", "x"])
def test_a_declared_type_that_is_no_image_is_unsupported(declared_type):
    refusal = refusal_of(pictures.jpeg(), declared_type)
    assert isinstance(refusal, UnsupportedMedia)
    assert refusal.code == "unsupported_image"


def test_nothing_is_a_bad_request():
    refusal = refusal_of(b"")
    assert isinstance(refusal, BadRequest)
    assert refusal.code == "image_empty"


def test_heic_is_refused_by_name():
    refusal = refusal_of(pictures.heic(), "image/heic")
    assert isinstance(refusal, UnsupportedMedia)
    assert refusal.code == "heic_not_supported"
    assert "HEIC" in refusal.detail


@pytest.mark.parametrize("data", [pictures.svg(), pictures.html(), b"\0", bytes(100)])
def test_bytes_of_nothing_accepted_are_unsupported(data):
    refusal = refusal_of(data, "image/jpeg")
    assert isinstance(refusal, UnsupportedMedia)
    assert refusal.code == "unsupported_image"


def test_a_format_that_is_not_accepted_here_is_unsupported():
    limits = ImageLimits(accepted=frozenset(ImageFormat) - {ImageFormat.GIF})
    refusal = refusal_of(pictures.gif(), "image/gif", limits)
    assert refusal.code == "unsupported_image"
    assert "JPEG, PNG or WebP" in refusal.detail


@pytest.mark.parametrize("name", list(pictures.CLAIMING))
def test_too_many_pixels_are_too_large(name):
    refusal = refusal_of(pictures.CLAIMING[name](8000, 8001))
    assert isinstance(refusal, TooLarge)
    assert refusal.code == "image_too_large"
    assert "64 megapixels" in refusal.detail
    assert require_image(pictures.CLAIMING[name](8000, 8000), declared_type=None, limits=LIMITS).width == 8000


@pytest.mark.parametrize("make", [pictures.animated_gif, pictures.apng, pictures.animated_webp])
def test_too_many_frames_are_too_large(make):
    limits = ImageLimits(max_frames=5)
    assert require_image(make(5), declared_type=None, limits=limits).frames == 5
    refusal = refusal_of(make(6), limits=limits)
    assert refusal.code == "image_too_large"
    assert "5 frames" in refusal.detail


def test_a_hundred_frames_pass_and_one_more_does_not():
    assert require_image(pictures.gif_of_frames(100), declared_type=None, limits=LIMITS).frames == 100
    assert refusal_of(pictures.gif_of_frames(101)).code == "image_too_large"


def test_too_many_pixels_over_all_frames_are_too_large():
    assert refusal_of(pictures.gif_of_frames(65, side=1000)).code == "image_too_large"
    assert require_image(pictures.gif_of_frames(64, side=1000), declared_type=None, limits=LIMITS).frames == 64


def test_a_broken_header_is_damaged():
    refusal = refusal_of(pictures.png_claiming(0, 7))
    assert isinstance(refusal, NotAllowedValue)
    assert refusal.code == "image_damaged"


def test_the_sentence_can_name_the_file_and_nothing_in_the_name_breaks_it():
    refusal = refusal_of(b"", name="my\r\n\x1b\u202e\ud800cat.jpg")
    assert refusal.detail.startswith("mycat.jpg: ")
    assert str(refusal) == refusal.detail
    assert len(refusal_of(b"", name="x" * 10_000).detail) < 200


@pytest.mark.parametrize(
    "data",
    [b"\xff\xd8\xff", pictures.heic(), pictures.png_claiming(0, 1), pictures.gif_of_frames(200), pictures.jpeg()],
)
def test_a_mapped_file_can_be_closed_after_the_decision(data):
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        refused = None
        try:
            require_image(mapped, declared_type=None, limits=LIMITS)
        except KeepsakeError as error:
            refused = error
        mapped.close()  # a view that an error kept alive would make this raise
        assert mapped.closed
        assert (refused is None) == (data == pictures.jpeg())


@pytest.mark.parametrize(
    ("filename", "corrected"),
    [
        ("cat.jpg", "cat.png"),
        ("cat.jpeg", "cat.png"),
        ("cat", "cat.png"),
        ("cat.html", "cat.png"),
        ("cat.2024", "cat.2024.png"),
        ("../../etc/passwd", "passwd.png"),
        ("C:\\photos\\my cat.JPG", "my_cat.png"),
        ("", "image.png"),
        (None, "image.png"),
        (".jpg", "image.png"),
        ('a"b;\r\nc\0.gif', "a_b_c.png"),
        ("Kätzchen.png", "K_tzchen.png"),
        ("\ud800", "image.png"),
    ],
)
def test_a_file_name_becomes_safe_and_gets_the_right_extension(filename, corrected):
    assert corrected_filename(filename, ImageFormat.PNG) == corrected


def test_a_long_file_name_keeps_its_extension():
    name = corrected_filename("x" * 5000 + ".jpg", ImageFormat.WEBP)
    assert len(name) == 100
    assert name.endswith("x.webp")
