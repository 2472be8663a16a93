"""Whatever is accepted shows what was sent, as Pillow shows it."""

from __future__ import annotations

import contextlib
import io
import struct
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import (
    GifImagePlugin,
    ImageChops,
    ImageFile,
    ImageStat,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from shared.errors import KeepsakeError
from shared.images import decode_worker
from shared.images.validation import ImageFormat, ImageLimits, sniff
from tests.support import pictures
from tests.support.odd_pictures import (
    MAKERS_TRAILER,
    ODD,
    bad_checksum,
    jpeg_with_a_stray,
    jpeg_with_exif,
    orientations,
    palette_image_without_palette,
    png_with,
)

LIMITS = ImageLimits(max_pixels=1_000_000)
PLUGINS: dict[ImageFormat, Any] = {
    ImageFormat.JPEG: JpegImagePlugin.JpegImageFile,
    ImageFormat.PNG: PngImagePlugin.PngImageFile,
    ImageFormat.WEBP: WebPImagePlugin.WebPImageFile,
    ImageFormat.GIF: GifImagePlugin.GifImageFile,
}
GRAIN, SOFT = pictures.noise(45, 35), pictures.gradient(45, 35)
CLEAR = pictures.gradient(45, 35, "RGBA")


def jpegs():
    for picture in (GRAIN, SOFT, GRAIN.convert("L"), SOFT.convert("CMYK")):
        yield pictures.saved(picture, "JPEG")
        yield pictures.saved(picture, "JPEG", progressive=True, exif=pictures.exif(6))
        yield pictures.saved(picture, "JPEG", restart_marker_rows=1, comment=pictures.SECRET)
    yield pictures.saved(GRAIN, "JPEG", subsampling=0, exif=pictures.exif(3, gps=True), xmp=pictures.xmp())
    yield pictures.saved(GRAIN, "JPEG", restart_marker_blocks=1, quality=95, icc_profile=pictures.icc_profile())


def pngs():
    for picture in (GRAIN, CLEAR, GRAIN.convert("L"), SOFT.convert("1"), SOFT.quantize(16), CLEAR.convert("LA")):
        yield pictures.saved(picture, "PNG")
    yield pictures.saved(SOFT.quantize(16), "PNG", transparency=3, exif=pictures.exif(8))
    yield pictures.saved(SOFT.convert("L").convert("I;16"), "PNG", transparency=7)
    yield pictures.with_metadata("PNG")
    yield pictures.apng(3)
    yield pictures.saved(SOFT, "PNG", save_all=True, append_images=[GRAIN, SOFT], default_image=True, duration=70)
    yield pictures.saved(CLEAR, "PNG", save_all=True, append_images=[CLEAR.rotate(180)], duration=[70, 130], loop=3)


def webps():
    yield pictures.saved(GRAIN, "WEBP")
    yield pictures.saved(CLEAR, "WEBP", quality=60)
    yield pictures.with_metadata("WEBP")
    yield pictures.animated_webp(3)
    yield pictures.saved(CLEAR, "WEBP", save_all=True, append_images=[CLEAR.rotate(180)], duration=[70, 130], loop=3)


def gifs():
    yield pictures.with_metadata("GIF")
    yield pictures.animated("GIF", 3, comment=pictures.SECRET.encode())
    yield pictures.saved(GRAIN.quantize(32), "GIF", transparency=2, interlace=1)
    yield pictures.saved(
        SOFT, "GIF", save_all=True, append_images=[GRAIN, SOFT], duration=[50, 90, 20], loop=2, disposal=[1, 2, 3]
    )


SAMPLES = [*jpegs(), *pngs(), *webps(), *gifs()]
TRAILERS = [
    b"\0",
    bytes(40),
    b"\xff\xd8\xff\xe0",
    pictures.jpeg(9, 9),
    b"\0\0\0\x18ftypmp42" + bytes(range(256)),
    b";",
    b"!\xfe\3abc\0",
]
PATCHES = [
    b"\xff\x01",
    b"\xff\x9f",
    b"\xff\xd9",
    b"\xff\xd3",
    b"\xff\xc4",
    b"\xff\xfe\0\4",
    b"\xff\xe1",
    b"\xff\xda",
    b"\0",
    b"\xff",
]


@st.composite
def mutated(draw):
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "insert", "lose", "noise", "move", "end", "trailer"])):
            case "change":
                patch = draw(st.binary(min_size=1, max_size=4) | st.sampled_from(PATCHES))
                data[at : at + len(patch)] = patch
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=9) | st.sampled_from(PATCHES))
            case "lose":
                del data[at : at + draw(st.integers(1, 64))]
            case "noise":
                data[at : at + 64] = draw(st.randoms(use_true_random=False)).randbytes(64)
            case "move":
                moved = slice(at, at + draw(st.integers(4, 60)))
                part = data[moved]
                del data[moved]
                to = draw(st.integers(0, len(data)))
                data[to:to] = part
            case "end":
                del data[len(data) - draw(st.integers(1, 14)) :]
            case "trailer":
                data += draw(st.sampled_from(TRAILERS))
    return bytes(data)


def prepared(data):
    """Return what is stored of it, and whether it was encoded anew; None where it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "target")
        try:
            made = decode_worker.prepare(data, target, None, LIMITS, strip=True, place=None)
        except KeepsakeError as refusal:
            assert refusal.status in {400, 413, 415, 422}  # noqa: PT017
            assert not target.exists()
            return None, False
        return target.read_bytes(), made.rewritten


def shown(data):
    """Return what Pillow shows: frames with their size, duration and pixels, loops, orientation; None for nothing.

    Without the ancillary PNG chunks whose checksum is wrong, which libpng and browsers leave out, and Pillow does not take.
    """
    data = without_bad_chunks(data)
    for lenient in (False, True):
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient
        try:
            return _shown(data)
        except Exception:  # noqa: BLE001, S112 - a decoder raises anything
            continue
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
    return None


def without_bad_chunks(data):
    """Leave them out of a PNG; what breaks off at its end stays, since its pixels count."""
    if sniff(data) is not ImageFormat.PNG:
        return data
    kept, at = data[:8], 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        is_whole = pictures.png_chunk(kind, chunk[8:-4]) == chunk
        if len(chunk) < 12 + length or not kind.isalpha() or (not is_whole and not kind[0] & 0x20):
            break
        kept += chunk if is_whole else b""
        at += 12 + length
        if kind == b"IEND":
            break
    return kept + data[at:]


def ends_in_a_trailer(data):
    return b"\xff\xc2" in data and is_broken(data) and is_broken(data + b"\xff\xd9")


def is_broken(data):
    try:
        return not _shown(data)
    except OSError:
        return True


def _shown(data):
    image_format = sniff(data)
    assert image_format is not None
    with warnings.catch_warnings(action="ignore"), PLUGINS[image_format](io.BytesIO(data)) as picture:
        frames = []
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            picture.load()
            flat = picture if picture.mode in {"I;16", "CMYK"} else picture.convert("RGBA")
            frames.append((flat.copy(), picture.info.get("duration")))
        orientation = 1
        for name in ("xmp", "XML:com.adobe.xmp"):  # browsers do not read it there
            picture.info.pop(name, None)
        with contextlib.suppress(SyntaxError):
            orientation = picture.getexif().get(0x0112, 1)
        return frames, picture.info.get("loop"), orientation if orientation in range(1, 9) else 1


def require_the_same(data, stored, *, rewritten=False):
    sent, served = shown(data), shown(stored)
    if sent is None or ends_in_a_trailer(data):
        return  # Pillow stumbles over metadata, or what is behind the image
    (frames, *rest), (kept, *others) = sent, served
    assert others == rest
    assert [(frame.size, frame.mode, duration) for frame, duration in kept] == [
        (frame.size, frame.mode, duration) for frame, duration in frames
    ]
    for (before, _), (after, _) in zip(frames, kept, strict=True):
        if rewritten:
            difference = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
            assert max(ImageStat.Stat(difference).mean) < 6
        else:
            assert before.tobytes() == after.tobytes()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("examples", [150, pytest.param(2000, marks=pytest.mark.long)])
def test_what_is_accepted_shows_what_was_sent(examples):
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(mutated())
    def holds(data):
        stored, rewritten = prepared(data)
        event("refused" if stored is None else "rewritten" if rewritten else "kept")
        if stored is not None:
            require_the_same(data, stored, rewritten=rewritten)

    holds()


@pytest.mark.parametrize("place", range(len(SAMPLES)))
def test_each_sample_is_kept_without_its_metadata(place):
    stored, rewritten = prepared(SAMPLES[place])
    assert not rewritten
    assert pictures.SECRET.encode() not in stored
    require_the_same(SAMPLES[place], stored)


@pytest.mark.parametrize("name", list(ODD))
def test_an_odd_image_is_kept_as_it_looks_without_its_metadata(name):
    stored, rewritten = prepared(ODD[name])
    assert rewritten == ("between its scans" in name)
    assert pictures.SECRET.encode() not in stored
    sent = ODD[name].replace(MAKERS_TRAILER, b"\xff\xd9") if "jpeg" in name else ODD[name]  # Pillow stumbles over it
    require_the_same(sent, stored, rewritten=rewritten)
    again, rewritten = prepared(stored)
    assert again == stored
    assert not rewritten


@pytest.mark.parametrize("pair", [bytes([0xFF, byte]) for byte in range(1, 0xFF)])
def test_nothing_between_the_first_scan_and_the_end_is_touched(pair):
    data = jpeg_with_a_stray(pair)
    stored, _ = prepared(data)
    if stored is None:
        assert is_broken(data)  # a marker that decoders stumble over
    elif pair != b"\xff\xd9":
        assert stored[stored.index(b"\xff\xda") :] == data[data.index(b"\xff\xda") :]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_anywhere_in_its_scans_is_refused(progressive):
    data = pictures.saved(GRAIN, "JPEG", progressive=progressive)
    for end in range(data.index(b"\xff\xda") + 14, len(data) - 4, 37):
        assert prepared(data[:end])[0] is None, end


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_in_xmp_alone_is_none_as_in_browsers(image_format):
    text = pictures.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    data = png_with(text) if image_format == "PNG" else pictures.saved(SOFT, image_format, xmp=XMP)
    stored, _ = prepared(data)
    assert b"tiff:" not in stored
    assert shown(stored)[-1] == 1
    require_the_same(data, stored)


def test_of_two_orientations_in_one_exif_block_the_first_counts_as_in_pillow():
    for values, expected in (((6, 8), 6), ((8, 1), 8), ((9, 6), 1)):
        assert shown(prepared(jpeg_with_exif(orientations(*values)))[0])[-1] == expected


def test_pixels_that_a_broken_chunk_interrupts_are_refused_as_those_that_a_whole_one_does():
    for chunk in (pictures.png_chunk(b"tEXt", b"a\0b"), bad_checksum(pictures.png_chunk(b"tEXt", b"a\0b"))):
        data = pictures.saved(GRAIN, "PNG")
        at = data.index(b"IDAT") - 4
        length = int.from_bytes(data[at : at + 4], "big")
        pixels = data[at + 8 : at + 8 + length]
        parts = [pictures.png_chunk(b"IDAT", part) for part in (pixels[:999], pixels[999:])]
        end = data[at + 12 + length :]
        assert prepared(data[:at] + b"".join(parts) + end)[0] is not None
        assert prepared(data[:at] + parts[0] + chunk + parts[1] + end)[0] is None


@pytest.mark.parametrize("kind", [b"fcTL", b"fdAT"])
def test_an_animation_with_a_broken_frame_is_refused(kind):
    data = pictures.apng(3)
    at = data.rindex(kind) - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    assert prepared(data[:at] + bad_checksum(data[at:end]) + data[end:])[0] is None


def test_a_palette_image_without_palette_is_refused():
    assert prepared(palette_image_without_palette())[0] is None
