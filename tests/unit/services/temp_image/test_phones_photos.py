from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from services.temp_image.app import build_app
from services.temp_image.settings import TempImageSettings
from tests.support import heif_pictures, pictures
from tests.support.serving import ServeApp

TURNED = heif_pictures.turned()


@pytest.mark.parametrize(
    ("heic_uploads", "image", "content_type"),
    [("on", TURNED, "image/heic"), ("off", pictures.avif(), "image/avif"), ("off", TURNED, None)],
)
async def test_a_phones_photo_is_kept_byte_for_byte_where_it_is_taken(
    tmp_path: Path, serve_app: ServeApp, heic_uploads: str, image: bytes, content_type: str | None
) -> None:
    settings = TempImageSettings(
        _env_file=None,
        data_dir=tmp_path,
        heic_uploads=heic_uploads,
        jwt_secret_key="for-tests-only-" * 3,
        internal_secret="between-services-" * 3,
    )
    url = await serve_app(build_app(settings))
    form = aiohttp.FormData()
    form.add_field("image", image, filename="IMG_1.HEIC", content_type="application/octet-stream")
    async with aiohttp.ClientSession(url) as http:
        async with http.post("/api/temp-image-upload", data=form) as answer:
            body = await answer.json()
            if content_type is None:
                assert (answer.status, body["code"]) == (415, "heic_not_supported")
                assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 1000]
                return
            assert answer.status == 200
        async with http.get("/api/temp-image-retrieve", params={"imageId": body["imageId"]}) as answer:
            assert (answer.status, answer.content_type, await answer.read()) == (200, content_type, image)
