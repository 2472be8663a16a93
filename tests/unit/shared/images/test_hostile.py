from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import KeepsakeError, NotAllowedValue, UnsupportedMedia
from shared.images.decoding import settle
from shared.images.strip import cut
from shared.images.validation import (
    CONVERTED,
    ImageFormat,
    ImageLimits,
    corrected_filename,
    named,
    read_facts,
    require_image,
)
from tests.support import pictures

LIMITS = ImageLimits()
SAMPLES = [
    *(pictures.with_metadata(name) for name in ("JPEG", "PNG", "WEBP", "GIF")),
    pictures.jpeg(progressive=True),
    pictures.animated_gif(3),
    pictures.apng(3),
    pictures.animated_webp(3),
    pictures.heic(),
]
INTERESTING = st.sampled_from(
    [
        b"\0",
        b"\xff",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\0",
        b"\xff\xda",
        b"\xff\xd9",
        b"ANMF",
        b"fcTL",
        b"!\xf9",
        b",",
    ]
)


@st.composite
def damaged_files(draw):
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["overwrite", "insert", "delete", "truncate", "repeat"])):
            case "overwrite":
                patch = draw(st.binary(min_size=1, max_size=4) | INTERESTING)
                data[at : at + len(patch)] = patch
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=12) | INTERESTING)
            case "delete":
                del data[at : at + draw(st.integers(1, 40))]
            case "truncate":
                del data[at:]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 60))]
    return bytes(data)


def cleaned(data, limits=LIMITS):
    """Return the facts and the stripped bytes, or the status of the refusal and nothing."""
    try:
        facts = require_image(data, declared_type=None, limits=limits)
        return facts, settle(data, facts).data
    except KeepsakeError as refusal:
        return refusal.status, b""


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(damaged_files())
@example(b"RIFF\0\0\0\0" + pictures.webp()[8:])
def test_a_damaged_file_is_accepted_or_refused_and_nothing_else(data):
    facts, clean = cleaned(data)
    if not clean:
        assert facts in {400, 413, 415, 422}
        return
    assert facts.width * facts.height * facts.frames <= 64_000_000
    again, twice = cleaned(clean)
    assert (again.width, again.height, again.orientation) == (facts.width, facts.height, facts.orientation)
    assert twice == clean


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(damaged_files())
def test_what_pillow_decodes_is_no_larger_than_the_header_reader_says(data):
    facts, clean = cleaned(data, ImageLimits(max_pixels=10**7))
    try:
        with Image.open(io.BytesIO(clean), formats=[facts.format.name]) as picture:
            picture.load()
            size = picture.size
    except Exception:  # noqa: BLE001 - what cannot be decoded is refused elsewhere
        return
    assert size[0] <= facts.width
    assert size[1] <= facts.height


@settings(max_examples=300)
@given(st.sampled_from(ImageFormat), st.binary(max_size=300))
def test_no_bytes_behind_a_signature_upset_a_reader(image_format, data):
    signatures = {
        "JPEG": b"\xff\xd8\xff",
        "PNG": b"\x89PNG\r\n\x1a\n",
        "WEBP": b"RIFF\xff\0\0\0WEBPVP8X",
        "GIF": b"GIF89a",
        "AVIF": b"\0\0\0\x14ftypavif\0\0\0\0mif1",
        "HEIC": b"\0\0\0\x14ftypheic\0\0\0\0mif1",
    }
    data = signatures[image_format.name] + data
    with contextlib.suppress(NotAllowedValue, UnsupportedMedia):
        facts = read_facts(data, image_format)
        if image_format not in CONVERTED:
            cut(data, facts)


@given(st.text())
def test_any_file_name_becomes_safe(name):
    safe = corrected_filename(name, ImageFormat.JPEG)
    assert safe.isascii()
    assert set(safe) & set('/\\"; %\r\n\0') == set()
    assert not safe.startswith(".")
    assert safe.endswith(".jpg")
    assert len(safe) <= 100
    named(KeepsakeError(), name).detail.encode()
