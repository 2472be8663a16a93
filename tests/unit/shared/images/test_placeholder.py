from __future__ import annotations

import base64

import pytest

from shared.images.placeholder import placeholder, thumb_hash
from tests.support import pictures


def pixels(width: int, height: int, *, clear: bool) -> bytes:
    return b"".join(
        bytes(((x * 7 + y * 13) % 256, x * x % 256, x * y % 256, (x * 5 + y) % 256 if clear else 255))
        for y in range(height)
        for x in range(width)
    )


# Made by the algorithm's author's own implementation, of the same pixels.
@pytest.mark.parametrize(
    ("width", "height", "clear", "expected"),
    [
        (32, 24, False, "WkgKLYgwdZl1h4hWiGeoh5if/J+I"),
        (24, 32, False, "WlgKJQwwlnWIeHdIlqZ3eIif/nuX"),
        (10, 100, False, "VccKIQhgZFiIhYZm/J38ZXc="),
        (10, 100, True, "FreCCQIUcJZ4eHj6evp0hXR3gHiIeIg="),
        (100, 3, False, "FxoGOYBAQ4Chh3eHa0/XCHU="),
        (100, 3, True, "2AmGIYInw3awpndsT4d/iHSAeId4h3g="),
        (1, 1, False, "AAgCBwAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        (1, 1, True, "AAiCBQAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="),
        (64, 64, False, "3ScGFwYAAkRlZ3ZlZ2iHZ3d3dvXb/ngH"),
        (64, 64, True, "3heCBQInAgaGmoQ4WDS/3U+YB5hnl3d4dw=="),
        (7, 7, False, "x1gGDwqAh4eAiIiHiHiIeIiHBwl0d4AH"),
    ],
)
def test_the_hash_is_the_one_that_is_published(width, height, clear, expected):
    assert base64.b64encode(thumb_hash(width, height, pixels(width, height, clear=clear))).decode() == expected


def test_a_flat_picture_has_a_mean_and_no_waves():
    made = thumb_hash(20, 10, bytes((200, 120, 40, 255)) * 200)
    assert made[:3].hex() == "9e9b02"
    assert not any(made[5:])


def test_a_picture_of_any_size_and_kind_has_a_small_one():
    for picture in (pictures.photo(1200, 900), pictures.gradient(3, 900), pictures.gradient(64, 48, "RGBA")):
        assert len(base64.b64decode(placeholder(picture))) in range(16, 30)
    with pytest.raises(ValueError, match="100"):
        thumb_hash(101, 1, bytes(404))
