"""docs/contract.md, "Cloudinary": `STORE_IMAGE_TO=cloudinary` at both doors."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt

from tests.support import pictures
from tests.support.cloudinary import running_cloudinary
from tests.support.stack import Stack, running_stack


def _form(**fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData(fields)
    form.add_field("image", pictures.jpeg(), filename="a.jpg", content_type="image/jpeg")
    return form


def _admin(stack: Stack) -> dict[str, str]:
    claims = {"sub": "boss", "iss": "keepsake", "aud": "keepsake", "exp": int(time.time()) + 600, "roles": ["admin"]}
    return {"Authorization": f"Bearer {jwt.encode(claims, stack.settings['JWT_SECRET_KEY'], 'HS256')}"}


async def test_what_comes_to_store_image_is_kept_at_cloudinary(tmp_path: Path) -> None:
    async with running_cloudinary() as there:
        settings = {
            "STORE_IMAGE_TO": "cloudinary",
            "CLOUDINARY_URL": there.account,
            "CLOUDINARY_API_BASE": there.url,
        }
        with running_stack(tmp_path, settings, "media-store", "gateway") as stack:
            for door in ("gateway", "media-store"):
                async with aiohttp.ClientSession(stack.url(door)) as http:
                    stored: dict[str, Any] = {}
                    for purpose in ("original", "processed_oil"):
                        async with http.post("/store-image", data=_form(session_id="s1", purpose=purpose)) as answer:
                            stored = await answer.json()
                            assert (answer.status, stored["success"]) == (200, True)
                        asset = there.assets[stored["key"].removesuffix(".jpg")]
                        assert (stored["url"], stored["size"]) == (asset["secure_url"], asset["bytes"])
                    async with http.get(f"/media/{stored['key']}", allow_redirects=False) as answer:
                        assert (answer.status, answer.headers["Location"]) == (307, stored["url"])
                    kept = len(there.assets)
                    async with http.delete(f"/media/{stored['key']}", headers=_admin(stack)) as answer:
                        assert answer.status == 200
                    assert len(there.assets) == kept - 1
                    there.trouble = "503"
                    async with http.post("/store-image", data=_form()) as answer:
                        assert (answer.status, (await answer.json())["code"]) == (503, "cloudinary_unavailable")
                        assert answer.headers["Retry-After"]
                    async with http.get(f"{stack.url('media-store')}/ready") as answer:
                        assert answer.status == 503
                        assert "cloudinary" in await answer.text()
                    there.trouble = ""
                    async with http.get(f"{stack.url('media-store')}/ready") as answer:
                        assert answer.status == 200
