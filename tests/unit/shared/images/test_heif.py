from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from shared.errors import KeepsakeError, NotAllowedValue, TooLarge, UnsupportedMedia
from shared.images import decode_worker
from shared.images.formats import av1
from shared.images.validation import ImageFormat, ImageLimits, accepted_formats, read_facts, require_image, sniff
from tests.support import heif_pictures, pictures

PROFILE = pictures.icc_profile()
LIMITS = ImageLimits(accepted=accepted_formats(heic=True))
TURNED = heif_pictures.turned()
AVIF = pictures.saved(heif_pictures.PHOTO, "AVIF", icc_profile=PROFILE)
AVIF_TURNED = pictures.saved(heif_pictures.PHOTO, "AVIF", exif=pictures.exif(6, gps=True).tobytes())


def facts_of(data, limits=LIMITS):
    return require_image(data, declared_type=None, limits=limits)


def converted(data, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    target.unlink(missing_ok=True)
    made = decode_worker.prepare(source, target, None, LIMITS)
    with Image.open(target) as picture:
        picture.load()
        return made, picture


@pytest.mark.parametrize(
    ("data", "size", "converted_from"),
    [
        (heif_pictures.heic(), (320, 240), "heic"),
        (TURNED, (240, 320), "heic"),
        (heif_pictures.heic(pictures.photo(700, 600), tile_size=256), (700, 600), "heic"),
        (heif_pictures.of_ten_bits(), (64, 48), "heic"),
        (heif_pictures.heic(pictures.gradient(64, 48, "RGBA")), (64, 48), "heic"),
        (AVIF, (320, 240), "avif"),
        (AVIF_TURNED, (240, 320), "avif"),
        (pictures.saved(pictures.gradient(65, 47, "RGBA"), "AVIF"), (65, 47), "avif"),
    ],
)
def test_a_phones_photo_becomes_an_upright_jpeg(tmp_path, data, size, converted_from):
    made, picture = converted(data, tmp_path)
    assert (made.converted_from, made.rewritten) == (converted_from, False)
    assert (picture.format, picture.size) == ("JPEG", size)
    assert (made.facts.format, made.facts.display_width, made.facts.display_height) == (ImageFormat.JPEG, *size)
    assert not picture.getexif()
    assert pictures.SECRET.encode() not in (tmp_path / "target").read_bytes()


@pytest.mark.parametrize("data", [TURNED, AVIF_TURNED])
def test_nothing_is_turned_twice(tmp_path, data):
    _, picture = converted(data, tmp_path)
    upright = heif_pictures.PHOTO.transpose(Image.Transpose.ROTATE_270)
    assert max(ImageStat.Stat(ImageChops.difference(picture, upright)).mean) < 12


@pytest.mark.parametrize("data", [heif_pictures.heic(icc_profile=PROFILE), AVIF])
def test_the_colour_profile_stays_and_nothing_else(tmp_path, data):
    _, picture = converted(data, tmp_path)
    assert picture.info["icc_profile"] == PROFILE
    assert set(picture.info) <= {"icc_profile", "jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_deep_grey_stays_as_bright_as_it_was(tmp_path):
    made, picture = converted(heif_pictures.of_ten_bits_grey(), tmp_path)
    (tmp_path / "source").write_bytes(heif_pictures.of_ten_bits_grey())
    decode_worker.thumbnail(tmp_path / "source", tmp_path / "target")
    with Image.open(tmp_path / "target") as thumbnail:
        for shown in (picture, thumbnail):
            levels: list[Any] = [shown.convert("L").getpixel((x, 24)) for x in (4, 32, 59)]
            assert all(abs(level - x * 255 // 63) < 12 for level, x in zip(levels, (4, 32, 59), strict=True))
    white = decode_worker.prepare(heif_pictures.heic(Image.new("L", (64, 48), 255)), None, None, LIMITS)
    assert made.placeholder != white.placeholder


def test_a_thumbnail_and_the_quality_come_from_the_photo(tmp_path):
    (tmp_path / "source").write_bytes(heif_pictures.turned())
    (tmp_path / "thumb").touch()
    made, facts = decode_worker.thumbnail_and_inspect(tmp_path / "source", tmp_path / "thumb")
    assert (made.width, made.height, facts.short_side) == (240, 320, 240)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("data", [TURNED, AVIF])
def test_a_truncated_one_is_damaged(tmp_path, data, keep):
    with pytest.raises(NotAllowedValue) as refusal:
        converted(pictures.truncated(data, keep), tmp_path)
    assert refusal.value.code == "image_damaged"


def test_the_boxes_tell_the_size_and_how_it_is_turned():
    facts = facts_of(TURNED)
    assert (facts.format, facts.display_width, facts.display_height) == (ImageFormat.HEIC, 240, 320)
    facts = facts_of(AVIF)
    assert (facts.format, facts.width, facts.height) == (ImageFormat.AVIF, 320, 240)


@pytest.mark.parametrize("item", [b"iovl", b"unci", b"iden", b"mski", b"jpeg", b"vvc1", b"abcd"])
def test_overlays_masks_and_other_codecs_are_refused(item):
    whole = heif_pictures.boxes(items=2)
    at = whole.rindex(b"hvc1")
    with pytest.raises(UnsupportedMedia) as refusal:
        facts_of(whole[:at] + item + whole[at + 4 :])
    assert refusal.value.code == "unsupported_image"


@pytest.mark.parametrize("item", [b"iovl", b"unci"])
def test_a_primary_overlay_or_raw_picture_is_unsupported(item):
    with pytest.raises(UnsupportedMedia):
        facts_of(heif_pictures.boxes(item=item))


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_refused_unless_a_profile_names_its_colours(transfer):
    def of(data):
        at = data.index(b"nclx") + 6
        return data[:at] + struct.pack(">H", transfer) + data[at + 2 :]

    with pytest.raises(UnsupportedMedia) as refusal:
        facts_of(of(pictures.avif()))
    assert "HDR" in refusal.value.detail
    assert facts_of(of(AVIF)).width == 320


def test_a_cropped_avif_is_refused():
    whole = pictures.avif()
    with pytest.raises(NotAllowedValue) as refusal:
        facts_of(whole.replace(b"pixi", b"clap"))
    assert "crop" in refusal.value.detail


def test_a_large_thumbnail_does_not_count():
    def with_second(kind):
        refers = heif_pictures.box(b"iref", bytes(4), heif_pictures.box(kind, struct.pack(">HHH", 2, 1, 1)))
        data = heif_pictures.boxes(items=2)
        data = data.replace(b"\0\2\1\1", b"\0\2\1\2")  # the second item has the second property
        large = heif_pictures.box(b"ispe", bytes(4) + struct.pack(">II", 9000, 9000))
        for name, by in ((b"meta", len(large) + len(refers)), (b"iprp", len(large)), (b"ipco", len(large))):
            at = data.index(name) - 4
            data = data[:at] + struct.pack(">I", struct.unpack_from(">I", data, at)[0] + by) + data[at + 4 :]
        at = data.index(b"ipma") - 4
        return data[:at] + large + data[at:] + refers

    assert facts_of(with_second(b"thmb")).pixels == 64 * 48
    with pytest.raises(TooLarge):
        facts_of(with_second(b"auxl"))


def test_sequences_are_refused():
    sequence = pictures.saved(pictures.gradient(), "AVIF", save_all=True, append_images=[pictures.noise()])
    film = heif_pictures.boxes(more=heif_pictures.box(b"moov", bytes(40)))
    for data in (sequence, film, heif_pictures.boxes(brand=b"hevc"), heif_pictures.boxes(brand=b"msf1")):
        with pytest.raises(UnsupportedMedia):
            facts_of(data)


def test_too_many_pixels_or_items_are_refused_before_any_decoder():
    for data in (heif_pictures.boxes(size=(8001, 8000)), heif_pictures.boxes(items=401)):
        with pytest.raises(TooLarge) as refusal:
            facts_of(data)
        assert refusal.value.code == "image_too_large"
    assert facts_of(heif_pictures.boxes(items=400)).frames == 1
    with pytest.raises(NotAllowedValue):
        facts_of(heif_pictures.boxes(size=(0, 48)))


def claiming(data, size):
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", *size) + data[at + 8 :]


def test_an_avif_frame_of_another_size_than_claimed_is_damaged_before_any_decoder():
    alpha = pictures.saved(pictures.gradient(65, 47, "RGBA"), "AVIF")
    no_frame = heif_pictures.boxes(brand=b"avif", item=b"av01")
    lying_tiles = heif_pictures.avif_grid(AVIF, 64, (64, 64), (64, 4096))
    for data in (
        claiming(AVIF, (100, 100)),
        claiming(AVIF, (321, 240)),
        claiming(alpha, (65, 48)),
        no_frame,
        lying_tiles,
    ):
        with pytest.raises(NotAllowedValue) as refusal:
            facts_of(data)
        assert refusal.value.code == "image_damaged"


def test_the_tiles_of_an_avif_count_together(tmp_path):
    grid = heif_pictures.avif_grid(AVIF, 3, (320, 240), (320, 700))
    assert converted(grid, tmp_path)[1].size == (320, 700)
    assert facts_of(grid).pixels == 3 * 320 * 240
    with pytest.raises(TooLarge) as refusal:
        facts_of(grid, ImageLimits(max_pixels=3 * 320 * 240 - 1))
    assert refusal.value.code == "image_too_large"
    assert "animation" not in refusal.value.detail


@pytest.mark.parametrize("options", [{}, {"speed": 10}, {"subsampling": "4:4:4"}])
@pytest.mark.parametrize("size", [(1, 1), (65, 47), (1025, 33)])
def test_the_size_of_an_avif_frame_is_read_from_whatever_encoder(options, size):
    facts = facts_of(pictures.saved(pictures.gradient(*size), "AVIF", **options))
    assert (facts.width, facts.height, facts.pixels) == (*size, size[0] * size[1])


def test_the_size_is_read_of_a_frame_with_a_full_header_too():
    film = pictures.saved(pictures.gradient(321, 123), "AVIF", save_all=True, append_images=[pictures.noise(321, 123)])
    start, length = struct.unpack_from(">II", film, film.index(b"iloc") + 18)
    frame = memoryview(film)[start : start + length]
    assert not frame[4] & 8  # reduced
    assert av1.frame_size(frame) == (321, 123)


def test_a_second_frame_or_sequence_header_is_not_believed():
    at = AVIF.index(b"mdat") + 4
    item = AVIF[at:]
    assert av1.frame_size(memoryview(item)) == (320, 240)
    other = bytearray(item)
    other[5] ^= 1
    for data in (item + item, bytes(other[:13]) + item[:13] + item[13:], item[:13], b""):
        with pytest.raises(NotAllowedValue):
            av1.frame_size(memoryview(data))


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=8), st.booleans()), min_size=1, max_size=4)
)
def test_whatever_an_av1_frame_says_its_size_is_read_or_it_is_damaged(changes):
    data = bytearray(AVIF[AVIF.index(b"mdat") + 4 :])
    for at, patch, grows in changes:
        data[at : at if grows else at + len(patch)] = patch
    try:
        width, height = av1.frame_size(memoryview(data))
    except NotAllowedValue as refusal:
        assert refusal.code == "image_damaged"  # noqa: PT017
    else:
        assert 0 < width <= 65536 and 0 < height <= 65536  # noqa: PT018


def test_heic_is_refused_by_name_unless_it_is_asked_for():
    with pytest.raises(UnsupportedMedia) as refusal:
        facts_of(TURNED, ImageLimits())
    assert refusal.value.code == "heic_not_supported"
    assert "HEIC" in refusal.value.detail
    assert facts_of(AVIF, ImageLimits()).format is ImageFormat.AVIF


SAMPLES = [
    TURNED,
    AVIF,
    heif_pictures.avif_grid(AVIF, 3, (320, 240), (320, 700)),
    heif_pictures.boxes(items=3),
    heif_pictures.heic(pictures.photo(300, 200), tile_size=64),
]
NUMBERS = st.sampled_from([b"\0\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\xff", b"\0\0\0\x08", b"\x7f\xff\xff\xff"])


@settings(max_examples=600, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 900), NUMBERS | st.binary(min_size=1, max_size=6), st.booleans()), max_size=5),
    st.integers(0, 1000),
)
def test_whatever_the_boxes_say_it_is_read_or_refused(sample, changes, behind):
    changed = bytearray(sample)
    for at, patch, grows in changes:
        changed[at : at if grows else at + len(patch)] = patch
    data = bytes(changed[: len(changed) - behind])
    image_format = sniff(data[:64])
    if image_format not in {ImageFormat.HEIC, ImageFormat.AVIF}:
        return
    try:
        facts = read_facts(data, image_format)
    except KeepsakeError as refusal:
        assert refusal.status in {413, 415, 422}  # noqa: PT017
    else:
        assert facts.width * facts.height <= facts.canvas_pixels


def test_looking_at_the_boxes_loads_no_decoder():
    code = (
        "import sys, shared.images.validation; from tests.support.heif_pictures import boxes;"
        "print([name for name in sys.modules if name.startswith('shared.images')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "decod" not in json.dumps(shown)


def test_a_damaged_photo_is_decoded_or_refused_and_nothing_else(tmp_path):
    at = TURNED.index(b"mdat")
    for place in range(at, len(TURNED), max(1, (len(TURNED) - at) // 25)):
        data = TURNED[:place] + b"\xa5\x5a\xff" + TURNED[place + 3 :]
        try:
            _, picture = converted(data, tmp_path)
        except NotAllowedValue:
            continue
        assert picture.size == (240, 320)
        assert io.BytesIO(data).getbuffer()
