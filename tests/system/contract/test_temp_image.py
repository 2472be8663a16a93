"""docs/contract.md, "temp-image": what a frontend may rely on, on the service's own port."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from services.temp_image.app import build_app
from services.temp_image.settings import TempImageSettings
from tests.support import pictures
from tests.support.serving import ServeApp

UPLOAD, RETRIEVE = "/api/temp-image-upload", "/api/temp-image-retrieve"
MAX_BYTES = 5 * 2**20
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
IMAGES = {
    "image/jpeg": pictures.jpeg(),
    "image/png": pictures.png(),
    "image/webp": pictures.webp(),
    "image/gif": pictures.gif(),
}


@pytest.fixture(params=["disk", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> TempImageSettings:
    return TempImageSettings(
        _env_file=None,
        data_dir=tmp_path,
        redis_url=request.getfixturevalue("redis_url") if request.param == "redis" else "",
        jwt_secret_key="for-tests-only-" * 3,
        internal_secret="between-services-" * 3,
    )


@pytest.fixture
async def base_url(settings: TempImageSettings, serve_app: ServeApp) -> str:
    return await serve_app(build_app(settings))


@pytest.fixture
async def http(base_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


def part(disposition: str, content: bytes, content_type: str = "") -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n"
    return (head + f"Content-Type: {content_type}\r\n" * bool(content_type) + "\r\n").encode() + content + b"\r\n"


def form(*parts: bytes) -> dict[str, Any]:
    """Return how to send these parts; as a file, because aiohttp warns of large bodies that are not one."""
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return {"data": BytesIO(body), "headers": {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}}


def image_part(image: bytes, *, name: str = "image", filename: str = "cat.jpg", declared: str = "image/jpeg") -> bytes:
    return part(f'name="{name}"; filename="{filename}"', image, declared)


async def upload(http: aiohttp.ClientSession, image: bytes) -> str:
    async with http.post(UPLOAD, **form(image_part(image))) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["imageId"])


async def retrieve(http: aiohttp.ClientSession, image_id: str, **options: Any) -> tuple[int, bytes]:
    async with http.get(RETRIEVE, params={"imageId": image_id}, **options) as answer:
        return answer.status, await answer.read()


async def problem(answer: aiohttp.ClientResponse) -> dict[str, object]:
    assert answer.content_type == "application/problem+json"
    body: dict[str, object] = await answer.json()
    assert body["error"] == body["detail"]
    assert body["status"] == answer.status
    return body


class TestUploading:
    async def test_answers_an_id_and_when_it_expires(self, http: aiohttp.ClientSession) -> None:
        async with http.post(UPLOAD, **form(image_part(IMAGES["image/png"]))) as answer:
            body = await answer.json()
        assert answer.status == 200
        assert len(body["imageId"]) == 32
        assert int(body["imageId"], 16) >= 0
        assert body["expiresAt"].endswith("Z")
        ahead = datetime.fromisoformat(body["expiresAt"]) - datetime.now(UTC)
        assert timedelta(minutes=58) < ahead <= timedelta(hours=1)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"

    @pytest.mark.parametrize("path", [UPLOAD, UPLOAD + "/"])
    async def test_is_there_with_and_without_a_trailing_slash(self, http: aiohttp.ClientSession, path: str) -> None:
        async with http.post(path, **form(image_part(IMAGES["image/jpeg"])), allow_redirects=False) as answer:
            assert answer.status == 200

    @pytest.mark.parametrize("declared", ["image/jpeg", "application/octet-stream", ""])
    @pytest.mark.parametrize("content_type", IMAGES)
    async def test_the_bytes_decide_the_type(
        self, http: aiohttp.ClientSession, content_type: str, declared: str
    ) -> None:
        sent = form(image_part(IMAGES[content_type], filename="photo.txt", declared=declared))
        async with http.post(UPLOAD, **sent) as answer:
            image_id = (await answer.json())["imageId"]
        async with http.get(RETRIEVE, params={"imageId": image_id}) as answer:
            assert answer.headers["Content-Type"] == content_type

    @pytest.mark.parametrize(
        "body",
        [
            lambda: form(image_part(IMAGES["image/jpeg"], name="photo")),
            lambda: form(image_part(b"", filename="")),
            lambda: form(part('name="image"', b"text")),
            form,
            lambda: {"json": {"image": "text"}},
            lambda: {"data": {"image": "text"}},
            dict,
        ],
        ids=["other name", "no file chosen", "text field", "empty form", "json", "urlencoded", "nothing"],
    )
    async def test_without_the_field_it_is_missing(
        self, http: aiohttp.ClientSession, body: Callable[[], dict[str, Any]]
    ) -> None:
        async with http.post(UPLOAD, **body()) as answer:
            assert answer.status == 400
            assert (await problem(answer))["error"] == "No image provided"

    async def test_an_empty_image_is_refused(self, http: aiohttp.ClientSession) -> None:
        async with http.post(UPLOAD, **form(image_part(b""))) as answer:
            assert answer.status == 400

    @pytest.mark.parametrize(
        ("image", "declared"),
        [
            (b"just some text", "image/jpeg"),
            (pictures.svg(), "image/svg+xml"),
            (pictures.html(), "text/html"),
            (IMAGES["image/jpeg"], "text/html"),
            (b"no image " * 100_000, "image/jpeg"),
        ],
        ids=["text", "svg", "html", "jpeg called html", "large"],
    )
    async def test_what_is_no_accepted_image_is_refused(
        self, http: aiohttp.ClientSession, image: bytes, declared: str
    ) -> None:
        async with http.post(UPLOAD, **form(image_part(image, declared=declared))) as answer:
            assert answer.status == 415

    async def test_an_avif_is_kept_byte_for_byte(self, http: aiohttp.ClientSession) -> None:
        assert await retrieve(http, await upload(http, pictures.avif())) == (200, pictures.avif())

    async def test_a_photo_from_a_phone_is_refused_by_name(self, http: aiohttp.ClientSession) -> None:
        async with http.post(UPLOAD, **form(image_part(pictures.heic(), declared="image/heic"))) as answer:
            assert answer.status == 415
            assert "HEIC" in str((await problem(answer))["error"])

    async def test_five_mebibytes_are_taken_and_one_byte_more_is_not(self, http: aiohttp.ClientSession) -> None:
        largest = pictures.of_bytes(MAX_BYTES)
        assert await retrieve(http, await upload(http, largest)) == (200, largest)
        async with http.post(UPLOAD, **form(image_part(pictures.of_bytes(MAX_BYTES + 1)))) as answer:
            assert answer.status == 413
            assert "5 MiB" in str((await problem(answer))["error"])

    @pytest.mark.parametrize(
        "image",
        [pictures.png_claiming(10_000, 10_000), pictures.gif_of_frames(101), pictures.apng_claiming_frames(101)],
        ids=["png", "gif", "apng"],
    )
    async def test_too_many_pixels_or_frames_are_refused_from_the_header(
        self, http: aiohttp.ClientSession, image: bytes
    ) -> None:
        async with http.post(UPLOAD, **form(image_part(image))) as answer:
            assert answer.status == 413
            assert (await problem(answer))["code"] == "image_too_large"

    async def test_an_image_that_ends_early_is_kept_as_it_is(self, http: aiohttp.ClientSession) -> None:
        image = pictures.truncated(pictures.jpeg(400, 300))
        assert await retrieve(http, await upload(http, image)) == (200, image)


class TestRetrieving:
    @pytest.mark.parametrize("image", [*IMAGES.values(), pictures.of_bytes(1_500_000)], ids=[*IMAGES, "large"])
    async def test_gives_the_exact_bytes_once(self, http: aiohttp.ClientSession, image: bytes) -> None:
        image_id = await upload(http, image)
        async with http.get(RETRIEVE, params={"imageId": image_id}) as answer:
            assert answer.status == 200
            assert await answer.read() == image
        assert answer.headers["Content-Length"] == str(len(image))
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with http.get(RETRIEVE, params={"imageId": image_id}) as answer:
            assert answer.status == 404
            assert (await problem(answer))["error"] == "Image not found or expired"

    @pytest.mark.parametrize("query", ["", "?imageId=", "?imageid=0", "?other=1"])
    async def test_without_an_id_it_is_required(self, http: aiohttp.ClientSession, query: str) -> None:
        async with http.get(RETRIEVE + query) as answer:
            assert answer.status == 400
            assert (await problem(answer))["error"] == "imageId required"

    @pytest.mark.parametrize(
        "image_id", ["0" * 32, "0" * 31, "A" * 32, "../../etc/passwd", "%00", "%ed%a0%80", "x" * 5000, "💥", " "]
    )
    async def test_an_unknown_or_malformed_id_is_not_found(self, http: aiohttp.ClientSession, image_id: str) -> None:
        url = URL(f"{RETRIEVE}?imageId={image_id}", encoded="%" in image_id)
        async with http.get(url) as answer:
            assert answer.status == 404
            assert (await problem(answer))["error"] == "Image not found or expired"

    async def test_head_describes_and_does_not_consume(self, http: aiohttp.ClientSession) -> None:
        image = IMAGES["image/webp"]
        image_id = await upload(http, image)
        for _ in range(2):
            async with http.head(RETRIEVE, params={"imageId": image_id}) as answer:
                assert answer.status == 200
                assert answer.headers["Content-Length"] == str(len(image))
                assert answer.headers["Content-Type"] == "image/webp"
                assert answer.headers["Cache-Control"] == "no-store"
        assert await retrieve(http, image_id) == (200, image)
        async with http.head(RETRIEVE, params={"imageId": image_id}) as answer:
            assert answer.status == 404

    async def test_a_range_is_ignored(self, http: aiohttp.ClientSession) -> None:
        image_id = await upload(http, IMAGES["image/gif"])
        async with http.get(RETRIEVE, params={"imageId": image_id}, headers={"Range": "bytes=0-3"}) as answer:
            assert answer.status == 200
            assert await answer.read() == IMAGES["image/gif"]
            assert "Accept-Ranges" not in answer.headers

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("Sec-Purpose", "prefetch"),
            ("Sec-Purpose", "prefetch;prerender"),
            ("Sec-Purpose", "prefetch;anonymous-client-ip"),
            ("Purpose", "prefetch"),
            ("X-Purpose", "preview"),
            ("X-Moz", "prefetch"),
        ],
    )
    async def test_a_prefetch_is_refused_and_does_not_consume(
        self, http: aiohttp.ClientSession, header: str, value: str
    ) -> None:
        image_id = await upload(http, IMAGES["image/png"])
        status, _ = await retrieve(http, image_id, headers={header: value})
        assert status == 403
        assert await retrieve(http, image_id) == (200, IMAGES["image/png"])

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    async def test_another_method_is_not_allowed(self, http: aiohttp.ClientSession, method: str) -> None:
        async with http.request(method, RETRIEVE) as answer:
            assert answer.status == 405
            assert {"GET", "HEAD"} <= set(answer.headers["Allow"].split(", "))

    @pytest.mark.parametrize("cut_after", [1, 300_000])
    async def test_a_transfer_that_is_cut_leaves_the_image_there(
        self, base_url: str, http: aiohttp.ClientSession, cut_after: int
    ) -> None:
        image = pictures.of_bytes(1_500_000)
        image_id = await upload(http, image)
        await cut(base_url, image_id, cut_after)
        got = await retrieve(http, image_id)
        for _ in range(400):
            if got[0] == 200:
                break
            await asyncio.sleep(0.05)
            got = await retrieve(http, image_id)
        assert got == (200, image)


async def cut(base_url: str, image_id: str, after: int) -> None:
    """Begin to retrieve, and reset the connection after so many bytes."""
    url = URL(base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
    writer.write(f"GET {RETRIEVE}?imageId={image_id} HTTP/1.1\r\nHost: {url.authority}\r\n\r\n".encode())
    await reader.readexactly(after)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
