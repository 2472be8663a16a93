from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import NotAllowedValue
from shared.images.validation import read_facts, sniff
from tests.support import pictures


def facts_of(data, **options):
    image_format = sniff(data)
    assert image_format is not None
    return read_facts(data, image_format, **options)


def code_of(data):
    try:
        facts_of(data, max_frames=100)
    except NotAllowedValue as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize(
    "data",
    [
        pictures.jpeg(70, 50),
        pictures.jpeg(70, 50, progressive=True),
        pictures.saved(pictures.gradient(70, 50, "L"), "JPEG"),
        pictures.saved(pictures.gradient(70, 50, "CMYK"), "JPEG"),
        pictures.png(70, 50),
        pictures.webp(70, 50),
        pictures.webp(70, 50, lossless=True),
        pictures.saved(pictures.gradient(70, 50, "RGBA"), "WEBP"),
        pictures.gif(70, 50),
    ],
)
def test_a_still_has_its_size_and_one_frame(data):
    facts = facts_of(data)
    assert (facts.width, facts.height, facts.frames, facts.orientation) == (70, 50, 1, 1)
    assert (facts.display_width, facts.display_height) == (70, 50)


@pytest.mark.parametrize("data", [pictures.animated_gif(5), pictures.apng(5), pictures.animated_webp(5)])
def test_frames_are_counted_in_every_kind_of_animation(data):
    facts = facts_of(data)
    assert (facts.width, facts.height, facts.frames) == (32, 24, 5)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_displayed_size_follows_the_orientation(image_format, orientation):
    facts = facts_of(pictures.with_metadata(image_format, orientation))
    assert facts.orientation == orientation
    shown = (facts.display_width, facts.display_height)
    assert shown == ((64, 48) if orientation < 5 else (48, 64))


def test_an_orientation_outside_its_range_is_upright():
    data = pictures.jpeg(exif=pictures.exif(6)).replace(
        b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06", b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x09"
    )
    assert facts_of(data).orientation == 1


def test_exif_that_a_webp_does_not_announce_does_not_turn_it():
    data = bytearray(pictures.with_metadata("WEBP", 6))
    data[20] &= ~0x08
    assert facts_of(data).orientation == 1


@pytest.mark.parametrize("name", list(pictures.CLAIMING))
def test_a_claimed_size_is_read_without_decoding(name):
    facts = facts_of(pictures.CLAIMING[name](9000, 8000))
    assert (facts.width, facts.height) == (9000, 8000)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF"])
@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_a_side_of_zero_is_damaged(name, size):
    if name == "GIF" and size == (0, 0):
        assert facts_of(pictures.gif_claiming(0, 0)).width == 16  # the first frame's
        return
    with pytest.raises(NotAllowedValue) as refusal:
        facts_of(pictures.CLAIMING[name](*size))
    assert refusal.value.code == "image_damaged"


def test_a_lossy_webp_with_a_side_of_zero_is_damaged():
    data = bytearray(pictures.webp())
    data[26:28] = b"\0\0"
    with pytest.raises(NotAllowedValue):
        facts_of(data)


@pytest.mark.parametrize("data", [pictures.jpeg(), pictures.png(), pictures.webp(), pictures.gif()])
def test_a_file_that_ends_before_its_size_is_damaged(data):
    with pytest.raises(NotAllowedValue) as refusal:
        facts_of(data[:12])
    assert refusal.value.code == "image_damaged"


@pytest.mark.parametrize(
    "data", [pictures.jpeg(900, 700), pictures.png(900, 700), pictures.webp(900, 700), pictures.gif(900, 700)]
)
def test_a_file_that_ends_after_its_size_still_has_one(data):
    facts = facts_of(pictures.truncated(data, 0.8))
    assert (facts.width, facts.height) == (900, 700)


def test_the_first_frame_of_a_gif_makes_its_screen_larger_and_a_later_one_the_canvas_alone():
    data = pictures.gif_of_frames(1, side=4)
    frame = b"," + struct.pack("<HHHHB", 10, 20, 30, 40, 0) + b"\x02\x02\x44\x01\0"
    facts = facts_of(data[:-1] + frame + b";")
    assert (facts.width, facts.height, facts.frames, facts.pixels) == (4, 4, 2, 40 * 60 * 2)
    facts = facts_of(data[: 13 + 6] + frame + data[13 + 6 :])
    assert (facts.width, facts.height, facts.frames) == (40, 60, 2)


def test_counting_stops_early():
    assert facts_of(pictures.gif_of_frames(60_000), max_frames=100).frames == 101
    assert facts_of(pictures.apng_claiming_frames(4_000_000_000), max_frames=100).frames == 4_000_000_000


def test_an_extension_whose_label_looks_like_a_frame_is_none():
    data = pictures.gif_of_frames(1)
    assert facts_of(data[:-1] + b"!,\x01a\0!;\x01a\0" + data[19:]).frames == 2


def test_an_image_hidden_behind_a_smaller_size_is_refused():
    small, large = pictures.jpeg(16, 16), pictures.jpeg_claiming(60_000, 60_000)
    at = small.index(b"\xff\xc0")
    header = small[at : at + 19]
    at = large.index(b"\xff\xc0")
    with pytest.raises(NotAllowedValue):
        facts_of(large[:at] + header + large[at:])


HOSTILE = {
    "gif of one-byte sub-blocks": pictures.gif_of_sub_blocks(5 << 20),
    "gif of junk between blocks": pictures.gif()[:-1] + bytes(5 << 20),
    "gif of empty comments": pictures.gif()[:-1] + b"!\xfe\0" * (5 << 18),
    "png of empty chunks": pictures.png()[:33] + pictures.png_chunk(b"juNk", b"") * (5 << 17),
    "jpeg of empty segments": b"\xff\xd8" + b"\xff\xe5\0\x02" * (5 << 18),
    "jpeg of fill bytes": b"\xff\xd8" + b"\xff" * (5 << 20),
    "jpeg of stuffed bytes": b"\xff\xd8" + b"\xff\0" * (5 << 19),
    "webp of empty chunks": pictures.webp_claiming(16, 16)[:30] + b"junk\0\0\0\0" * (5 << 17),
}


@pytest.mark.parametrize("name", list(HOSTILE))
@pytest.mark.timeout(10)
def test_a_file_made_to_cost_time_is_decided_in_linear_time(name):
    data = bytearray(HOSTILE[name])
    data[4:8] = struct.pack("<I", len(data) - 8) if data[:4] == b"RIFF" else data[4:8]
    assert code_of(data) in {None, "image_damaged"}


SMALL_JPEG = pictures.jpeg(70, 50)


@given(
    st.dictionaries(st.integers(4, SMALL_JPEG.index(b"\xff\xda") + 20), st.integers(0, 255), max_size=3),
    st.integers(0, 40),
)
def test_a_jpeg_of_plain_segments_says_what_one_with_a_fill_byte_says(damage, cut):
    """The quick reader of the first sort, and the thorough one of all others, agree on damaged headers, too."""
    data = bytearray(SMALL_JPEG[: len(SMALL_JPEG) - cut * 20])
    for at, byte in damage.items():
        data[min(at, len(data) - 1)] = byte
    filled = data[:2] + b"\xff" + data[2:]
    assert code_of(bytes(data)) == code_of(bytes(filled))
    if code_of(bytes(data)) is None:
        assert facts_of(bytes(data)) == facts_of(bytes(filled))
