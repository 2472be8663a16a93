"""Placeholders as the server makes them and the client shows them: two readings of one published format."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageChops, ImageStat

from shared.images.placeholder import placeholder
from tests.support import pictures
from tests.system.client.conftest import SOURCES, Script


def difference(shown: Image.Image, picture: Image.Image) -> float:
    """Return how far apart two pictures are on average, colours and transparency, from 0 to 255."""
    small = picture.convert("RGBA").resize(shown.size, Image.Resampling.BOX)
    return sum(ImageStat.Stat(ImageChops.difference(shown, small)).mean) / 4


async def test_a_placeholder_looks_like_its_picture_and_like_no_other(script: Script) -> None:
    made = [
        pictures.gradient(640, 480),
        pictures.gradient(300, 700, "RGBA"),
        pictures.photo(800, 600),
        Image.new("RGB", (60, 60), (200, 30, 60)),
    ]
    addresses = await script(
        """
        const { placeholderDataURL } = await import(given.module);
        return given.placeholders.map(placeholderDataURL);
        """,
        module=f"{SOURCES.as_uri()}/placeholder.js",
        placeholders=[placeholder(picture) for picture in made],
    )
    for address, picture in zip(addresses, made, strict=True):
        shown = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGBA")
        assert max(shown.size) == 32
        assert abs(shown.width / shown.height - picture.width / picture.height) < 0.2
        closest = min(made, key=lambda other: difference(shown, other))
        assert closest is picture
