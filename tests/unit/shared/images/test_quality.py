from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from shared.images.photo_quality import MIN_SHARPNESS, Fingerprint, PhotoFacts
from shared.images.sharpness import fingerprint as fingerprint_of
from shared.images.sharpness import reduction
from shared.images.sharpness import sharpness as sharpness_of
from tests.support import pictures


def text(width=1000, height=800):
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for top in range(10, height, 40):
        draw.text((10, top), "For sale: one planter, hardly used. " * 4, fill="black", font=ImageFont.load_default(22))
    return picture


def portrait():
    """Draw a small sharp subject before a background out of focus."""
    picture = pictures.photo(1000, 1000, 9)
    behind = pictures.blurred(picture, 12)
    behind.paste(picture.crop((450, 450, 600, 600)), (450, 450))
    return behind


def with_edges():
    picture = pictures.gradient(1000, 800)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((250, 200, 700, 600), fill="orange")
    draw.rectangle((100, 50, 200, 700), fill="navy")
    return picture


def low_contrast():
    return Image.eval(pictures.photo(1000, 1000, 5), lambda level: 120 + level // 12)


def jpeg_of(picture, quality=75):
    return Image.open(io.BytesIO(pictures.saved(picture.convert("RGB"), "JPEG", quality=quality)))


SHARP = {
    "photo": pictures.photo,
    "large photo": lambda: pictures.photo(2600, 2000, 3),
    "small photo": lambda: pictures.photo(300, 200, 4),
    "text": text,
    "edges on a gradient": with_edges,
    "noise": lambda: pictures.noise(1000, 900),
    "small noise": lambda: pictures.noise(300, 200),
    "noise of grains": lambda: pictures.noise(400, 300).resize((1200, 900), Image.Resampling.BICUBIC),
    "grey grain": lambda: Image.effect_noise((1000, 800), 60),
    "fractal": lambda: Image.effect_mandelbrot((1000, 800), (-2, -1.5, 1, 1.5), 100),
    "low contrast": low_contrast,
}
NEVER_BLURRED = {
    **SHARP,
    "portrait": portrait,
    "slightly soft": lambda: pictures.photo(1600, 1200, 7).filter(ImageFilter.GaussianBlur(1.5)),
    "gradient": lambda: pictures.gradient(1000, 800),
    "round gradient": lambda: Image.radial_gradient("L").resize((1000, 1000)),
    "one colour": lambda: Image.new("RGB", (900, 900), "teal"),
    "a dot": lambda: Image.new("RGB", (1, 1), "teal"),
    "a line": lambda: Image.new("RGB", (3000, 1), "teal"),
}


def sharpness(picture):
    factor = reduction(*picture.size)
    return sharpness_of(picture.convert("L").reduce(factor), factor)


@pytest.mark.parametrize("name", list(NEVER_BLURRED))
def test_a_sharp_picture_is_never_called_blurred(name):
    picture = NEVER_BLURRED[name]()
    assert sharpness(picture) > MIN_SHARPNESS
    assert sharpness(jpeg_of(picture, 80)) > MIN_SHARPNESS


@pytest.mark.parametrize("name", list(SHARP))
@pytest.mark.parametrize("radius", [6, 9])
def test_a_picture_blurred_with_radius_6_or_more_is_called_blurred(name, radius):
    picture = pictures.blurred(SHARP[name](), radius)
    if (name, radius) != ("low contrast", 9):  # nothing is left of it to judge by
        assert sharpness(picture) < MIN_SHARPNESS
        assert sharpness(jpeg_of(picture)) < MIN_SHARPNESS


def fingerprint(picture):
    small = picture.convert("RGB")
    small.thumbnail((400, 400))
    return fingerprint_of(small)


PICTURES: dict[str, Callable[[], Image.Image]] = {
    **{f"photo {seed}": partial(pictures.photo, 900, 700, seed) for seed in range(6)},
    "noise": lambda: pictures.noise(1000, 900),
    "other noise": lambda: pictures.noise(1000, 900, 1),
    "gradient": lambda: pictures.gradient(900, 900),
    "turned gradient": lambda: pictures.gradient(900, 900).rotate(90),
    "mirrored photo": lambda: pictures.photo(900, 700, 0).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "text": text,
    "edges": with_edges,
    "red": lambda: Image.new("RGB", (900, 900), "red"),
    "blue": lambda: Image.new("RGB", (900, 900), "blue"),
    "black": lambda: Image.new("RGB", (900, 900), "black"),
}


@pytest.mark.parametrize("name", list(PICTURES))
@pytest.mark.parametrize(
    "again",
    [
        lambda picture: jpeg_of(picture, 60),
        lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
        lambda picture: jpeg_of(picture.resize((picture.width * 3 // 4, picture.height * 3 // 4)), 70),
        lambda picture: jpeg_of(picture.resize((picture.width // 4, picture.height // 4)), 50),
        lambda picture: picture.resize((picture.width * 2, picture.height * 2)),
        lambda picture: Image.open(io.BytesIO(pictures.saved(picture, "WEBP", quality=70))),
    ],
    ids=["re-encoded", "halved", "resized and re-encoded", "quartered and re-encoded", "enlarged", "as WebP"],
)
def test_the_same_picture_again_is_near(name, again):
    picture = PICTURES[name]()
    assert fingerprint(picture).is_near(fingerprint(again(picture)))


def test_different_pictures_are_not_near():
    prints = {name: fingerprint(make()) for name, make in PICTURES.items()}
    near = [(a, b) for a in prints for b in prints if a < b and prints[a].is_near(prints[b])]
    assert near == []


def test_a_fingerprint_can_be_written_down():
    taken = fingerprint(pictures.photo(300, 200))
    assert Fingerprint.parse(str(taken)) == taken
    with pytest.raises(ValueError, match="132"):
        Fingerprint.parse("ff")


def test_a_photo_under_800_pixels_is_small():
    taken = Fingerprint(bytes(63), bytes(3))
    assert PhotoFacts(799, 1.0, taken).is_small
    assert not PhotoFacts(800, 1.0, taken).is_small
