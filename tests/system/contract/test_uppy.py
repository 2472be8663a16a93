"""A page with Uppy's own uploaders, unchanged: to `/store-image`, and with a presigned form to media-store and to S3."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from tests.support import pictures
from tests.support.node import ensure_installed, node
from tests.support.stack import Stack
from tests.unit.services.media_store.store import bucket_settings_of, open_store

HOME = Path(__file__).with_name("uppy")


@pytest.fixture(scope="module", autouse=True)
def _uppy() -> None:
    ensure_installed(HOME)


async def upload(folder: Path, *arguments: str, image: bytes) -> dict[str, Any]:
    """Let the page upload `image`; return what Uppy says of it."""
    file = folder / "cat.jpg"
    file.write_bytes(image)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        node(), str(HOME / "upload.mjs"), *arguments, str(file), stdout=pipe, stderr=pipe
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, (output, errors)
    said: dict[str, Any] = json.loads(output)
    return said


async def test_xhr_upload_stores_an_image(door: Callable[[str], str], tmp_path: Path) -> None:
    said = await upload(tmp_path, "xhr", door("media-store") + "/store-image", image=pictures.jpeg())
    assert said["status"] == 200
    assert said["body"]["key"].startswith("pet-images/uppy_processed_comic_")
    assert said["uploadURL"] == said["body"]["url"]
    async with aiohttp.ClientSession() as http, http.get(said["uploadURL"]) as answer:
        assert answer.status == 200


async def test_aws_s3_sends_the_presigned_form_to_the_gateway(stack: Stack, tmp_path: Path) -> None:
    claims = {"sub": "uppy", "exp": int(time.time()) + 600}
    token = jwt.encode(claims, stack.settings["JWT_SECRET_KEY"], "HS256")
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
        base = stack.url("gateway") + "/api/v1/organizations"
        async with http.post(base, json={"name": "Uppy"}) as answer:
            organization = (await answer.json())["id"]
        wanted = {"content_type": "image/jpeg", "filename": "cat.jpg"}
        async with http.post(f"{base}/{organization}/temp-image-upload", json=wanted) as answer:
            signed = await answer.json()
        said = await upload(tmp_path, "s3", json.dumps(signed), image=pictures.jpeg())
        assert said["uploadURL"] == signed["public_url"]
        async with http.get(signed["public_url"]) as answer:
            assert await answer.read() == pictures.jpeg()


@pytest.mark.parametrize("wanted", [{}, {"method": "PUT", "size": len(pictures.jpeg())}])
async def test_aws_s3_sends_form_and_put_to_the_bucket(
    s3_server: Any, s3: Any, tmp_path: Path, wanted: dict[str, Any]
) -> None:
    rule = {"AllowedOrigins": ["http://localhost:3000"], "AllowedMethods": ["POST", "PUT"], "AllowedHeaders": ["*"]}
    cors = {"CORSRules": [{**rule, "ExposeHeaders": ["ETag", "Location"]}]}
    s3_server.client.put_bucket_cors(Bucket=s3.bucket, CORSConfiguration=cors)
    async with open_store(bucket_settings_of(tmp_path, s3)) as store:
        signed = (await store.sign(**wanted)).json
        await upload(tmp_path, "s3", json.dumps(signed), image=pictures.jpeg())
        assert (await store.call("GET", signed["public_url"])).body == pictures.jpeg()
