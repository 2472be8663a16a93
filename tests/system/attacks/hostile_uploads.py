"""Uploads that nobody should send, by family: what is sent, and which statuses are an answer to it."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.support import pictures

BOUNDARY = "----attack7MA4YWxkTrZu0gW"
MIB = 2**20
TAKEN, REFUSED = {200}, {400, 413, 415, 422}
EITHER = TAKEN | REFUSED


@dataclass(frozen=True)
class Upload:
    """A request's body with its own headers; `allowed` are the statuses that it may be answered with."""

    body: bytes
    allowed: set[int]
    content_type: str = f"multipart/form-data; boundary={BOUNDARY}"
    headers: tuple[str, ...] = ()


def part(disposition: str, content: bytes, *headers: str) -> bytes:
    lines = (f"--{BOUNDARY}", f"Content-Disposition: form-data; {disposition}", *headers, "", "")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + content + b"\r\n"


def file(content: bytes, declared: str = "image/jpeg", filename: str = "cat.jpg", *headers: str) -> bytes:
    return part(f'name="image"; filename="{filename}"', content, f"Content-Type: {declared}", *headers)


END = f"--{BOUNDARY}--\r\n".encode()


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + END


def image(content: bytes, *allowed: int, declared: str = "image/jpeg") -> Upload:
    return Upload(form(file(content, declared)), set(allowed) or REFUSED)


def _zip() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("../../etc/passwd", "root")
    return sink.getvalue()


def _png_with(*chunks: bytes) -> bytes:
    """Put chunks before a picture's data."""
    plain = pictures.png()
    return plain[:33] + b"".join(chunks) + plain[33:]


def _bomb(megabytes: int = 32) -> bytes:
    return zlib.compress(bytes(megabytes * MIB), 9)


def _jpeg_with(marker: int, content: bytes, times: int = 1) -> bytes:
    plain = pictures.jpeg()
    segment = struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
    return plain[:2] + segment * times + plain[2:]


def _exif(tiff: bytes) -> bytes:
    return _jpeg_with(0xE1, b"Exif\0\0" + tiff)


def _entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


TIFF = b"II*\0\x08\0\0\0"
POLYGLOT = b"<script>alert(document.domain)</script><?php system($_GET[0]); ?>#!/bin/sh\nrm -rf /\n"
JPEG = pictures.jpeg()

FAMILIES: dict[str, Callable[[], dict[str, Upload]]] = {
    "truncated": lambda: {
        **{f"jpeg to {size}": image(JPEG[:size], *EITHER) for size in (1, 2, 3, 4, 11, 20, 100, 300, len(JPEG) - 2)},
        **{f"png to {size}": image(pictures.png()[:size], *EITHER) for size in (1, 7, 8, 12, 16, 24, 32, 33, 60)},
        **{f"gif to {size}": image(pictures.gif()[:size], *EITHER) for size in (1, 5, 6, 9, 12, 13, 20)},
        **{f"webp to {size}": image(pictures.webp()[:size], *EITHER) for size in (1, 4, 11, 12, 15, 20, 25, 29)},
    },
    "empty": lambda: {"nothing": image(b"", 400), "spaces": image(b" " * 100, 415), "zeros": image(bytes(100), 415)},
    "polyglots": lambda: {
        "jpeg and script": image(JPEG + POLYGLOT, 200),
        "gif and script": image(pictures.gif() + POLYGLOT, 200),
        "png and script": image(_png_with(pictures.png_chunk(b"juNk", POLYGLOT)), 200),
        "jpeg and zip": image(JPEG + _zip(), 200),
        "a script that begins as a gif": image(b"GIF89a=1;" + POLYGLOT),
        "a script in a jpeg's comment": image(_jpeg_with(0xFE, POLYGLOT), 200),
        "html with a jpeg behind": image(POLYGLOT + JPEG, 415),
        "bmp and script": image(b"BM" + POLYGLOT, 415),
        "zip with a jpeg behind": image(_zip() + JPEG, 415),
    },
    "markup": lambda: {
        "svg": image(pictures.svg(), 415),
        "svg that says so": image(pictures.svg(), 415, declared="image/svg+xml"),
        "svg with a script": image(b'<?xml version="1.0"?><svg onload="alert(1)"/>', 415, declared="image/png"),
        "svg that reads files": image(b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>', 415),
        "svgz": image(gzip.compress(pictures.svg()), 415, declared="image/svg+xml"),
        "html": image(pictures.html(), 415),
        "a laughing xml": image(b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>', 415),
    },
    "other types": lambda: {
        "heic": image(pictures.heic(), 415),
        "tiff": image(b"II*\0" + bytes(100), 415),
        "bmp": image(b"BM" + bytes(100), 415),
        "ico": image(b"\0\0\x01\0\x01\0" + bytes(100), 415),
        "pdf": image(b"%PDF-1.7\n" + bytes(100), 415),
        "elf": image(b"\x7fELF" + bytes(100), 415),
        "exe": image(b"MZ" + bytes(100), 415),
        "mp4": image(b"\0\0\0\x20ftypisom" + bytes(100), 415),
        "postscript": image(b"%!PS\n%%BoundingBox: 0 0 1 1\n(/etc/passwd) (r) file", 415),
        "imagemagick": image(b"push graphic-context\nfill 'url(https://x/|ls)'\npop graphic-context", 415),
        "riff that is no webp": image(b"RIFF\x24\0\0\0WAVEfmt " + bytes(100), 415),
    },
    "declared types": lambda: {
        kind: Upload(form(file(JPEG, kind)), {415})
        for kind in ("text/html", "application/javascript", "application/x-sh", "text/xml", "video/mp4")
    }
    | {
        # Declared an image, if another one: the bytes decide what it is kept and served as.
        "image/svg+xml": Upload(form(file(JPEG, "image/svg+xml")), {200}),
        # What is no media type says nothing, so it counts as undeclared.
        "a type with a control character": Upload(form(file(JPEG, "image/jpeg\x0bX: y")), {200, 400, 415}),
    },
    "pixel bombs": lambda: {
        f"{kind} of {width} x {height}": image(make(width, height), 413)
        for kind, make in pictures.CLAIMING.items()
        for width, height in ((60_000, 60_000), (65_535, 1000), (1, 65_535))[: 1 if kind == "WEBP" else 2]
        if kind != "WEBP" or width * height < 2**32
    }
    | {"png of 2**31": image(pictures.png_claiming(2**31 - 1, 2**31 - 1), 413, 422)},
    "no pixels": lambda: {
        # A GIF's screen of 0 x 0 is as large as its first frame, as browsers have it.
        f"{kind} of 0 x {height}": image(make(0, height), 200 if (kind, height) == ("GIF", 0) else 422)
        for kind, make in pictures.CLAIMING.items()
        if kind != "WEBP"
        for height in (0, 10)
    },
    "frame bombs": lambda: {
        "gif of 101": image(pictures.gif_of_frames(101), 413),
        "gif of 100,000": image(pictures.gif_of_frames(100_000), 413),
        "gif of 300,000": image(pictures.gif_of_frames(300_000), 413),
        "gif of 100 large ones": image(pictures.gif_of_frames(100, 5000), 413, 422),
        "apng that claims 101": image(pictures.apng_claiming_frames(101), 413, 422),
        "apng that claims 2**32": image(pictures.apng_claiming_frames(2**32 - 1), 413, 422),
        "webp of 101": image(pictures.animated_webp(101, 2, 2), 413),
    },
    "text bombs": lambda: {
        "zTXt": image(_png_with(pictures.png_chunk(b"zTXt", b"Comment\0\0" + _bomb())), *EITHER),
        "iTXt": image(_png_with(pictures.png_chunk(b"iTXt", b"Comment\0\x01\0\0\0" + _bomb())), *EITHER),
        "iCCP": image(_png_with(pictures.png_chunk(b"iCCP", b"ICC\0\0" + _bomb())), *EITHER),
        "a hundred thousand chunks": image(_png_with(pictures.png_chunk(b"tEXt", b"a\0b") * 100_000), *EITHER),
        "a chunk that claims 2 GiB": image(_png_with(struct.pack(">I", 2**31 - 1) + b"tEXt"), *EITHER),
        "a chunk of a negative length": image(_png_with(struct.pack(">i", -12) + b"tEXt"), *EITHER),
        "a wrong checksum": image(_png_with(struct.pack(">I", 3) + b"tEXta\0b" + bytes(4)), *EITHER),
    },
    "exif bombs": lambda: {
        "65,535 entries": image(_exif(TIFF + struct.pack("<H", 65_535) + _entry(0x112, 3, 1, 6) * 4000), *EITHER),
        "an entry of 4 GiB": image(_exif(TIFF + b"\x01\0" + _entry(0x10F, 2, 2**32 - 1, 8) + bytes(4)), *EITHER),
        "a directory that is its own next": image(
            _exif(TIFF + b"\x01\0" + _entry(0x112, 3, 1, 6) + struct.pack("<I", 8)), *EITHER
        ),
        "a directory within itself": image(_exif(TIFF + b"\x01\0" + _entry(0x8769, 4, 1, 8) + bytes(4)), *EITHER),
        "a directory beyond the end": image(_exif(b"II*\0" + struct.pack("<I", 2**32 - 1)), *EITHER),
        "orientation 99": image(_exif(TIFF + b"\x01\0" + _entry(0x112, 3, 1, 99) + bytes(4)), *EITHER),
        "sixty blocks": image(_jpeg_with(0xE1, b"Exif\0\0" + TIFF + bytes(60_000), 60), *EITHER),
        "a thousand blocks of xmp": image(_jpeg_with(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x>" * 900, 1000), *EITHER),
    },
    "segments": lambda: {
        "jpeg of ten thousand comments": image(_jpeg_with(0xFE, b"x" * 100, 10_000), *EITHER),
        "jpeg of a million fill bytes": image(JPEG[:2] + b"\xff" * MIB + JPEG[2:], *EITHER),
        "jpeg with a segment of no length": image(JPEG[:2] + b"\xff\xe1\0\0" + JPEG[2:], *EITHER),
        "jpeg with a segment over the end": image(JPEG[:2] + b"\xff\xe1\xff\xff", *EITHER),
        "jpeg of a thousand scans": image(JPEG[:-2] + JPEG[JPEG.index(b"\xff\xda") : -2] * 1000, *EITHER),
        "gif of two million sub-blocks": image(pictures.gif_of_sub_blocks(4 * MIB), *EITHER),
        "webp that claims 4 GiB": image(b"RIFF\xff\xff\xff\xffWEBPVP8X\xff\xff\xff\xff" + bytes(64), *EITHER),
        "webp of odd chunks": image(b"RIFF\x64\0\0\0WEBP" + b"ALPH\x01\0\0\0" * 10, *REFUSED),
        "only a signature": image(b"\xff\xd8\xff" + bytes(1000), *EITHER),
    },
    "too large": lambda: {
        "a byte": image(pictures.of_bytes(5 * MIB + 1), 413),
        "a megabyte": image(pictures.of_bytes(6 * MIB), 413),
        "zeros": image(b"\xff\xd8\xff" + bytes(5 * MIB), 413),
        "to the byte": image(pictures.of_bytes(5 * MIB), 200),
    },
    "many parts": lambda: {
        "ten thousand texts": Upload(form(*(part(f'name="f{n}"', b"x") for n in range(10_000)), file(JPEG)), {413}),
        "ten thousand empty files": Upload(form(*(part('name="a"; filename=""', b"") for _ in range(10_000))), {413}),
        "twenty-one": Upload(form(*(part(f'name="f{n}"', b"x") for n in range(20)), file(JPEG)), {413}),
        "twenty": Upload(form(*(part(f'name="f{n}"', b"x") for n in range(19)), file(JPEG)), {200}),
        "two images": Upload(form(file(JPEG), file(JPEG)), {400}),
        "ten thousand images": Upload(form(*[file(JPEG[:300])] * 10_000), {400, 413}),
    },
    "large texts": lambda: {
        "a megabyte": Upload(form(part('name="caption"', b"x" * MIB), file(JPEG)), {413}),
        "64 KiB and a byte": Upload(form(part('name="caption"', b"x" * 65_537), file(JPEG)), {413}),
        "no text": Upload(form(part('name="caption"', b"\xff\xfe\xfd"), file(JPEG)), {400}),
        "NUL": Upload(form(part('name="caption"', b"a\0b"), file(JPEG)), {422}),
    },
    "preamble and epilogue": lambda: {
        "a preamble of a megabyte": Upload(b"x" * MIB + b"\r\n" + form(file(JPEG)), {400}),
        "a preamble without an end": Upload(b"\r\n" * MIB, {400}),
        "a preamble of almost boundaries": Upload(f"\r\n--{BOUNDARY[:-1]}x".encode() * 20_000, {400}),
        "an epilogue of a megabyte": Upload(form(file(JPEG)) + b"x" * MIB, {200, 400}),
        "an epilogue of forms": Upload(form(file(JPEG)) * 50, {200, 400}),
        "no end": Upload(file(JPEG), {400}),
        "no beginning": Upload(END, {400}),
        "half a boundary": Upload(file(JPEG) + f"--{BOUNDARY[:5]}".encode(), {400}),
    },
    "part headers": lambda: {
        "9 KiB": Upload(form(file(JPEG, "image/jpeg", "cat.jpg", f"X: {'x' * 9000}")), {400, 413}),
        "a megabyte": Upload(form(file(JPEG, "image/jpeg", "cat.jpg", f"X: {'x' * MIB}")), {400, 413}),
        "a thousand": Upload(form(file(JPEG, "image/jpeg", "cat.jpg", *(f"X{n}: {n}" for n in range(1000)))), {400, 413}),
        "no colon": Upload(form(file(JPEG, "image/jpeg", "cat.jpg", "Header")), {400}),
        "a control character": Upload(form(file(JPEG, "image/jpeg", "cat.jpg", "X: a\x07b")), {200}),
        "two dispositions": Upload(
            form(file(JPEG, "image/jpeg", "cat.jpg", 'Content-Disposition: form-data; name="caption"')), {400}
        ),
        "no disposition": Upload(f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n".encode() + JPEG + b"\r\n" + END, {400}),
        "another disposition": Upload(form(file(JPEG)).replace(b"form-data;", b"attachment;"), {400}),
        "bare LFs": Upload(form(file(JPEG)).replace(b"\r\n", b"\n"), {400}),
        "a name twice": Upload(form(part('name="caption"; name="image"; filename="a.jpg"', JPEG)), {200, 400}),
        "no name": Upload(form(part('filename="a.jpg"', JPEG)), {400}),
    },
    "encoded parts": lambda: {
        # RFC 7578 section 4.8: other headers of a part mean nothing; the bytes are what they are.
        name: Upload(form(file(content, "image/jpeg", "cat.jpg", header)), {200} if content is JPEG else {415})
        for name, content, header in (
            ("base64", b"/9j/4AAQ", "Content-Transfer-Encoding: base64"),
            ("quoted-printable", JPEG, "Content-Transfer-Encoding: quoted-printable"),
            ("gzip", gzip.compress(JPEG), "Content-Encoding: gzip"),
            ("deflate", zlib.compress(JPEG), "Content-Encoding: deflate"),
            ("a bomb", gzip.compress(bytes(64 * MIB)), "Content-Encoding: gzip"),
            ("gzip in another case", gzip.compress(JPEG), "cOnTeNt-EnCoDiNg: GZIP"),
        )
    },
    "encoded bodies": lambda: {
        coding: Upload(gzip.compress(form(file(JPEG))), {415}, headers=(f"Content-Encoding: {coding}",))
        for coding in ("gzip", "deflate", "br", "zstd", "x-gzip", "gzip, gzip", "identity, gzip")
    },
    "file names": lambda: {
        name: Upload(form(file(JPEG, "image/jpeg", name)), {200, 400})
        for name in (
            "../../../../tmp/evil.jpg", "..\\..\\evil.jpg", "/etc/cron.d/evil", "C:\\evil.jpg", "evil\x00.jpg",
            "evil.jpg\x00.exe",
            "x" * 5000 + ".jpg", "\u202egpj.exe", "CON.jpg", "a\x1bb.jpg", "~root/.ssh/authorized_keys", ".htaccess", "-rf",
            "$(touch evil).jpg", "`id`.jpg", "|id", "evil.jpg; name=admin", "evil.php\udcff.jpg", "%2e%2e%2fevil.jpg",
            " ", ".", "..",
            "<img src=x onerror=alert(1)>.jpg", "' OR 1=1 --.jpg", "{{7*7}}.jpg", "evil.jpg/", "spool/evil", "con:stream",
        )
    }
    | {
        "an extended name": Upload(form(part("name=\"image\"; filename*=UTF-8''..%2f..%2fevil.jpg", JPEG)), {200, 400}),
        "an extended name of no text": Upload(form(part("name=\"image\"; filename*=UTF-8''%ff%fe%00", JPEG)), {200, 400}),
        "an unknown charset": Upload(form(part("name=\"image\"; filename*=utf-7''+AC8-", JPEG)), {200, 400}),
    },
    "boundaries": lambda: {
        "none": Upload(form(file(JPEG)), {400}, "multipart/form-data"),
        "an empty one": Upload(form(file(JPEG)), {400}, "multipart/form-data; boundary="),
        "another one": Upload(form(file(JPEG)), {400}, "multipart/form-data; boundary=other"),
        "two": Upload(form(file(JPEG)), {400}, f"multipart/form-data; boundary={BOUNDARY}; boundary=other"),
        "a long one": Upload(form(file(JPEG)), {400}, "multipart/form-data; boundary=" + "x" * 71),
        "one with a line break": Upload(form(file(JPEG)), {400}, "multipart/form-data; boundary=a\tb"),
        "one with 8 bits": Upload(form(file(JPEG)), {400}, "multipart/form-data; boundary=\xe4\xf6"),
        "one within the image": Upload(form(file(JPEG + f"\r\n--{BOUNDARY}".encode() + b"x")), {200, 400}),
        "dashes": Upload(b"--" * 100_000, {400}, "multipart/form-data; boundary=-"),
    },
    "other bodies": lambda: {
        kind: Upload(form(file(JPEG)), {400}, content_type)
        for kind, content_type in (
            ("mixed", f"multipart/mixed; boundary={BOUNDARY}"),
            ("related", f"multipart/related; boundary={BOUNDARY}"),
            ("a form", "application/x-www-form-urlencoded"),
            ("json", "application/json"),
            ("the image's own", "image/jpeg"),
            ("none", ""),
            ("nonsense", ";;;=,"),
        )
    },
    "forms in forms": lambda: {
        "mixed within": Upload(
            form(file(form(file(JPEG)), f"multipart/mixed; boundary={BOUNDARY}x")), {400, 415}
        ),
        "a form for an image": Upload(form(file(form(file(JPEG)).replace(BOUNDARY.encode(), b"inner"))), {415}),
    },
    "other fields": lambda: {
        "a text for an image": Upload(form(part('name="image"', JPEG)), {400}),
        "an image under another name": Upload(form(part('name="picture"; filename="a.jpg"', JPEG)), {400}),
        "an image in an array": Upload(form(part('name="image[]"; filename="a.jpg"', JPEG)), {400}),
        "an image in another case": Upload(form(part('name="IMAGE"; filename="a.jpg"', JPEG)), {400}),
        "a charset field": Upload(form(part('name="_charset_"', b"utf-7"), file(JPEG)), {200}),
    },
}  # fmt: skip


def broken_off() -> list[bytes]:
    """Return beginnings of an upload, after which the client is gone."""
    whole = form(file(pictures.of_bytes(2 * MIB)))
    return [whole[:size] for size in (0, 10, 100, 250, 5000, 300_000, MIB, len(whole) - 1)]
