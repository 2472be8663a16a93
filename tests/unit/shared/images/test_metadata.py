from __future__ import annotations

import io
import mmap
import struct
import tempfile

import pytest
from PIL import Image, ImageSequence

from shared.errors import NotAllowedValue
from shared.images import decode_worker
from shared.images.decoding import settle
from shared.images.strip import cut
from shared.images.validation import ImageLimits, require_image
from tests.support import pictures


def facts_of(data):
    return require_image(data, declared_type=None, limits=ImageLimits())


def strip(data):
    return settle(data, facts_of(data)).data


def pixels_of(data):
    with Image.open(io.BytesIO(data)) as picture:
        return [
            (frame.size, frame.info.get("duration"), frame.info.get("loop"), frame.convert("RGBA").tobytes())
            for frame in ImageSequence.Iterator(picture)
        ]


SAMPLES = {
    "jpeg": pictures.jpeg(300, 200),
    "progressive jpeg": pictures.jpeg(300, 200, progressive=True),
    "jpeg of noise": pictures.saved(pictures.noise(300, 200), "JPEG", quality=95, progressive=True),
    "jpeg with restart markers": pictures.saved(pictures.noise(300, 200), "JPEG", restart_marker_rows=1),
    "grey jpeg": pictures.saved(pictures.gradient(70, 50, "L"), "JPEG"),
    "cmyk jpeg": pictures.saved(pictures.gradient(70, 50, "CMYK"), "JPEG"),
    "jpeg with everything": pictures.with_metadata("JPEG"),
    "png": pictures.png(),
    "png with everything": pictures.with_metadata("PNG"),
    "png with a palette": pictures.saved(pictures.gradient().quantize(16), "PNG", transparency=3),
    "png of grey and alpha": pictures.saved(pictures.gradient(64, 48, "RGBA").convert("LA"), "PNG"),
    "webp": pictures.webp(),
    "lossless webp": pictures.webp(lossless=True),
    "webp with alpha": pictures.saved(pictures.gradient(63, 47, "RGBA"), "WEBP", quality=40),
    "webp with everything": pictures.with_metadata("WEBP"),
    "gif": pictures.gif(),
    "gif with everything": pictures.with_metadata("GIF"),
    "animated gif": pictures.animated_gif(4),
    "animated gif with a comment": pictures.animated("GIF", 4, comment=pictures.SECRET.encode()),
    "animated gif played once": pictures.saved(
        pictures.gradient(), "GIF", save_all=True, append_images=[pictures.noise()]
    ),
    "apng": pictures.apng(4),
    "animated webp": pictures.animated_webp(4),
    "animated webp with everything": pictures.animated(
        "WEBP",
        4,
        33,
        23,
        exif=pictures.exif(1, gps=True).tobytes(),
        xmp=pictures.xmp(),
        icc_profile=pictures.icc_profile(),
    ),
}


@pytest.mark.parametrize("name", list(SAMPLES))
def test_without_metadata_every_frame_is_the_same_to_the_pixel(name):
    before, after = SAMPLES[name], strip(SAMPLES[name])
    assert pixels_of(after) == pixels_of(before)
    assert facts_of(after) == facts_of(before)


@pytest.mark.parametrize("name", list(SAMPLES))
def test_nothing_of_what_was_attached_is_left(name):
    after = strip(SAMPLES[name])
    assert pictures.SECRET.encode() not in after
    for trace in (b"xmp", b"GPS", b"rdf", b"http", b"tEXt", b"zTXt", b"iTXt", b"XMP "):
        assert trace not in after.replace(pictures.icc_profile(), b"")
    with Image.open(io.BytesIO(after)) as picture:
        kept = dict(picture.getexif())
        assert not picture.getexif().get_ifd(0x8825)
        assert set(kept) <= {0x0112}


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_stays_where_it_is_not_upright(image_format, orientation):
    after = strip(pictures.with_metadata(image_format, orientation))
    with Image.open(io.BytesIO(after)) as picture:
        assert dict(picture.getexif()) == ({} if orientation == 1 else {0x0112: orientation})


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_the_colour_profile_stays(image_format):
    with Image.open(io.BytesIO(strip(pictures.with_metadata(image_format)))) as picture:
        assert picture.info["icc_profile"] == pictures.icc_profile()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_the_density_goes(image_format):
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(file, image_format, dpi=(300, 300))
    with Image.open(io.BytesIO(strip(file.getvalue()))) as picture:
        assert "dpi" not in picture.info


@pytest.mark.parametrize("name", list(SAMPLES))
def test_stripping_twice_changes_nothing(name):
    once = strip(SAMPLES[name])
    assert strip(once) == once


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "gif", "apng", "animated gif", "animated webp"])
def test_a_plain_file_stays_as_it_is(name):
    assert strip(SAMPLES[name]) == SAMPLES[name]


def test_large_pieces_are_views_and_not_copies():
    data = pictures.saved(pictures.noise(600, 400), "PNG")
    pieces = cut(data, facts_of(data)).pieces
    assert sum(len(piece) for piece in pieces if isinstance(piece, bytes)) < 100
    assert all(piece.obj is data for piece in pieces if isinstance(piece, memoryview))


def test_a_second_image_and_a_thumbnail_inside_a_jpeg_go():
    first = pictures.jpeg(40, 40, exif=pictures.exif(6))
    jfif = (
        b"\xff\xe0"
        + struct.pack(">H", 16 + 12)
        + b"JFIF\0\x01\x01\0\0\x01\0\x01\x02\x02"
        + pictures.SECRET.encode()[:12]
    )
    extras = b"\xff\xe2\0\x0aMPF\0" + bytes(4) + b"\xff\xe1\0\x08again!" + b"\xff\xe0\0\x08JFXX\0\x10"
    at = 20  # after SOI and the JFIF segment
    data = first[:2] + jfif + extras + first[at:] + pictures.jpeg(80, 80, comment=pictures.SECRET)
    after = strip(data)
    assert pixels_of(after) == pixels_of(first)
    assert pictures.SECRET.encode()[:12] not in after
    assert b"MPF" not in after
    assert b"JFXX" not in after
    assert after.count(b"\xff\xd8") == 1


def test_chunks_nobody_knows_go_from_png_and_webp():
    plain = pictures.png()
    after = strip(plain[:33] + pictures.png_chunk(b"prVt", pictures.SECRET.encode()) + plain[33:])
    assert after == plain
    plain = pictures.saved(pictures.gradient(16, 16, "RGBA"), "WEBP")
    odd = b"SECR" + struct.pack("<I", 3) + b"abc\0"
    data = bytearray(plain[:30] + odd + plain[30:] + odd)
    data[4:8] = struct.pack("<I", len(data) - 8)
    assert strip(bytes(data)) == plain


def test_a_chunk_hidden_in_a_frame_of_a_webp_goes():
    plain = pictures.animated_webp(2)
    at = plain.index(b"ANMF")
    size = struct.unpack_from("<I", plain, at + 4)[0]
    end = at + 8 + size
    odd = b"SECR" + struct.pack("<I", 4) + b"abcd"
    data = bytearray(plain[: at + 4] + struct.pack("<I", size + len(odd)) + plain[at + 8 : end] + odd + plain[end:])
    data[4:8] = struct.pack("<I", len(data) - 8)
    assert strip(bytes(data)) == plain


@pytest.mark.parametrize("name", list(SAMPLES))
@pytest.mark.parametrize("missing", [1, 2])
def test_an_end_mark_that_is_missing_is_set_and_a_webp_has_none(name, missing):
    whole = SAMPLES[name].removesuffix(pictures.SECRET.encode())
    if "webp" in name:
        with pytest.raises(NotAllowedValue):
            strip(whole[:-missing])
    else:
        assert pixels_of(strip(whole[:-missing])) == pixels_of(strip(whole))


@pytest.mark.parametrize("name", list(SAMPLES))
def test_a_file_without_its_second_half_is_damaged(name, tmp_path):
    target = tmp_path / "target"
    with pytest.raises(NotAllowedValue) as refusal:
        decode_worker.prepare(pictures.truncated(SAMPLES[name]), target, None, ImageLimits(), strip=True, place=None)
    assert refusal.value.code == "image_damaged"
    assert not target.exists()


def test_a_mapped_file_can_be_closed_after_a_refusal():
    data = pictures.truncated(pictures.animated_webp(), 0.9)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with pytest.raises(NotAllowedValue):
            cut(mapped, facts_of(mapped))
        mapped.close()
        assert mapped.closed
