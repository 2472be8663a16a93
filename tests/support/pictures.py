"""Images for tests: real files of every format and kind, hostile ones, and headers of what is not accepted."""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable

from PIL import Image, ImageCms, ImageDraw, ImageFilter, PngImagePlugin

SECRET = "Keepsake-secret-comment"
"""A text that `with_metadata` puts wherever the format has room for it."""

GPS_DEGREES = (48, 12, 30)


def gradient(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Draw a smooth colour gradient, which compresses well."""
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    picture = Image.merge("RGB", (across, down, across.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    if mode == "RGBA":
        picture.putalpha(down)
        return picture
    return picture.convert(mode)


def noise(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """Draw colour noise, which does not compress: a JPEG has about 0.9 bytes per pixel, a PNG 3."""
    return Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(width * height * 3))


def photo(width: int = 1200, height: int = 900, seed: int = 0) -> Image.Image:
    """Draw something like a photo: soft background, sharp shapes and fine texture; different with each seed."""
    dice = random.Random(seed)
    soft = noise(8, 6, seed).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(soft)
    for _ in range(40):
        x, y, size = dice.randrange(width), dice.randrange(height), dice.randrange(width // 40 + 1, width // 6 + 2)
        box = (x, y, x + size, y + dice.randrange(size // 2 + 1, size * 2 + 2))
        colour = (dice.randrange(256), dice.randrange(256), dice.randrange(256))
        dice.choice([draw.ellipse, draw.rectangle])(box, fill=colour)
    grain = Image.effect_noise((width, height), 12).convert("RGB")
    return Image.blend(soft, grain, 0.06)


def blurred(picture: Image.Image, radius: float = 6) -> Image.Image:
    """Blur with a Gaussian of `radius` pixels."""
    return picture.filter(ImageFilter.GaussianBlur(radius))


def saved(picture: Image.Image, image_format: str, **options: object) -> bytes:
    """Encode with Pillow; `image_format` is its name for it (JPEG, PNG, WEBP, GIF)."""
    sink = io.BytesIO()
    picture.save(sink, image_format, **options)
    return sink.getvalue()


def jpeg(width: int = 64, height: int = 48, **options: object) -> bytes:
    """Make a JPEG of a gradient; `progressive=True`, `quality=…`, `exif=…`, `comment=…` as Pillow takes them."""
    return saved(gradient(width, height), "JPEG", **options)


def png(width: int = 64, height: int = 48, **options: object) -> bytes:
    """Make a PNG of a gradient."""
    return saved(gradient(width, height), "PNG", **options)


def webp(width: int = 64, height: int = 48, **options: object) -> bytes:
    """Make a WebP of a gradient; `lossless=True` for VP8L."""
    return saved(gradient(width, height), "WEBP", **options)


def gif(width: int = 64, height: int = 48, **options: object) -> bytes:
    """Make a GIF of a gradient."""
    return saved(gradient(width, height).quantize(64), "GIF", **options)


def animated(image_format: str, frames: int = 3, width: int = 32, height: int = 24, **options: object) -> bytes:
    """Make an animation of different frames: GIF, PNG (APNG) or WEBP."""
    pictures = []
    for number in range(frames):
        picture = gradient(width, height)
        picture.paste((number * 61 % 256, number * 97 % 256, 255), (number % width, 0, number % width + 3, height))
        pictures.append(picture)
    extra = {"lossless": True} if image_format == "WEBP" else {}
    return saved(
        pictures[0], image_format, save_all=True, append_images=pictures[1:], duration=80, loop=0, **extra, **options
    )


def animated_gif(frames: int = 3, width: int = 32, height: int = 24) -> bytes:
    """Make an animated GIF that repeats for ever."""
    return animated("GIF", frames, width, height)


def apng(frames: int = 3, width: int = 32, height: int = 24) -> bytes:
    """Make an animated PNG."""
    return animated("PNG", frames, width, height)


def animated_webp(frames: int = 3, width: int = 32, height: int = 24) -> bytes:
    """Make an animated WebP, lossless."""
    return animated("WEBP", frames, width, height)


def of_bytes(size: int, image_format: str = "JPEG") -> bytes:
    """Make a valid image of exactly `size` bytes (JPEG or PNG, at least 2 KiB), padded within its format."""
    padding_limit = 60_000 if image_format == "JPEG" else size
    plain = saved(gradient(32, 32), image_format)
    rest = size - len(plain)
    if image_format == "PNG":
        return plain[:-12] + png_chunk(b"juNk", bytes(rest - 12)) + plain[-12:]
    parts = []
    while rest:
        part = rest if rest <= padding_limit else min(padding_limit, rest - 4)
        parts.append(b"\xff\xed" + struct.pack(">H", part - 2) + bytes(part - 4))
        rest -= part
    return plain[:2] + b"".join(parts) + plain[2:]


def exif(orientation: int = 1, *, gps: bool = False) -> Image.Exif:
    """Make EXIF data with an orientation, a camera name that is `SECRET`, and a place where asked."""
    data = Image.Exif()
    data[0x0112] = orientation
    data[0x010F] = SECRET
    if gps:
        data.get_ifd(0x8825).update({1: "N", 2: GPS_DEGREES, 3: "E", 4: GPS_DEGREES})
    return data


def xmp() -> bytes:
    """Make an XMP packet with `SECRET` in it."""
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description dc:creator="{SECRET}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


@functools.cache  # it has its second in it
def icc_profile() -> bytes:
    """Make an sRGB colour profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def with_metadata(image_format: str, orientation: int = 6, picture: Image.Image | None = None) -> bytes:
    """Make a still with EXIF (orientation, camera, GPS), XMP, a colour profile, comments, and bytes after its end."""
    picture = picture or gradient()
    place = exif(orientation, gps=True)
    if image_format == "JPEG":
        data = saved(picture, "JPEG", exif=place, xmp=xmp(), icc_profile=icc_profile(), comment=SECRET)
    elif image_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", SECRET)
        text.add_text("Packed", SECRET * 9, zip=True)
        text.add_itxt("XML:com.adobe.xmp", xmp().decode())
        data = saved(picture, "PNG", exif=place, icc_profile=icc_profile(), pnginfo=text, dpi=(300, 300))
    elif image_format == "WEBP":
        data = saved(picture, "WEBP", exif=place.tobytes(), xmp=xmp(), icc_profile=icc_profile(), lossless=True)
    else:
        data = saved(picture.quantize(64), "GIF", comment=SECRET)
    return data + SECRET.encode()


def heic() -> bytes:
    """Make the beginning of a HEIC file, as a phone writes it."""
    return b"\0\0\0\x24ftypheic\0\0\0\0mif1MiHEMiPrmiafheic" + b"\0\0\x0f\xa4meta" + bytes(64)


def avif() -> bytes:
    """Make a real AVIF, which no service accepts."""
    return saved(gradient(), "AVIF")


def svg() -> bytes:
    """Make an SVG, which no service accepts."""
    return b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>'


def html() -> bytes:
    """Make a page that calls itself an image nowhere."""
    return b"<!doctype html><script>alert(1)</script>"


def truncated(data: bytes, keep: float = 0.5) -> bytes:
    """Keep the first part of a file."""
    return data[: int(len(data) * keep)]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Make one PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int) -> bytes:
    """Make a PNG of a few bytes that claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = png_chunk(b"IDAT", zlib.compress(bytes(64)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + data + png_chunk(b"IEND", b"")


def jpeg_claiming(width: int, height: int) -> bytes:
    """Make a small JPEG whose header claims a size."""
    data = bytearray(jpeg(16, 16))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_claiming(width: int, height: int) -> bytes:
    """Make a small GIF whose screen claims a size."""
    data = bytearray(gif(16, 16))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def webp_claiming(width: int, height: int) -> bytes:
    """Make a small WebP whose canvas claims a size (1 to 2**24)."""
    frame = webp(16, 16, lossless=True)[12:]
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", len(canvas)) + canvas + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


CLAIMING: dict[str, Callable[[int, int], bytes]] = {
    "JPEG": jpeg_claiming,
    "PNG": png_claiming,
    "WEBP": webp_claiming,
    "GIF": gif_claiming,
}


def gif_of_frames(frames: int, side: int = 1) -> bytes:
    """Make a tiny GIF of many tiny frames: 15 bytes each."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    screen = struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return b"GIF89a" + screen + frame * frames + b";"


def gif_of_sub_blocks(size: int) -> bytes:
    """Make a GIF of about `size` bytes whose one frame is cut into sub-blocks of one byte."""
    screen = struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02"
    return b"GIF89a" + screen + frame + b"\x01\x44" * (size // 2) + b"\0;"


def apng_claiming_frames(frames: int) -> bytes:
    """Make a small APNG that announces a number of frames and has two."""
    data = apng(2, 8, 8)
    at = data.index(b"acTL")
    return data[: at - 4] + png_chunk(b"acTL", struct.pack(">II", frames, 0)) + data[at + 16 :]
