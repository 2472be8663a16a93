"""The same hostile uploads where images are kept for good: what is refused leaves no object, and what is served is an image."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.stack import Stack
from tests.system.attacks.conftest import Person
from tests.system.attacks.hostile_uploads import FAMILIES, Upload, part
from tests.system.attacks.test_uploads import IMAGE_TYPES, send

REFUSALS = {400, 413, 415, 422}


@dataclass(frozen=True)
class Target:
    """A path that takes images: the name of its file field, other fields it needs, and where the image is served."""

    path: str
    service: str
    field: str
    fields: Callable[[Person], dict[str, str]]
    served: Callable[[dict[str, Any]], str]


TARGETS = {
    "store-image": Target("/store-image", "media-store", "image", lambda _: {}, lambda body: str(body["url"])),
    "user image": Target(
        "/api/upload_user_image/",
        "media-store",
        "image",
        lambda who: {"username": who.username, "image_type": "gallery"},
        lambda body: str(body["image"]["url"]),
    ),
    "order": Target(
        "/api/images/upload",
        "planter-orders",
        "files",
        lambda _: {},
        lambda body: str(body["order_metadata"]["files"][0]["url"]),
    ),
}


def objects_in(data_dir: Path) -> set[str]:
    """Return every file but databases and what says who signed out."""
    found = (path.relative_to(data_dir) for path in data_dir.rglob("*") if path.is_file())
    aside = {"temp-images", "revoked", "pet_thumbnails"}  # thumbnails of accepted photos are made later
    return {str(path) for path in found if ".db" not in path.name and aside.isdisjoint(path.parts)}


def aimed(upload: Upload, target: Target, who: Person) -> Upload:
    """Send an upload to another path, with that path's other fields before it."""
    fields = b"".join(part(f'name="{name}"', value.encode()) for name, value in target.fields(who).items())
    body = fields + upload.body.replace(b'name="image"', f'name="{target.field}"'.encode())
    return replace(upload, body=body, headers=(*upload.headers, f"Authorization: Bearer {who.access_token}"))


# Forms are read by the same code everywhere; the images are looked into here more closely than where they are kept an hour.
EVERYWHERE = ("truncated", "polyglots", "pixel bombs", "frame bombs", "file names")
IMAGES = (
    *EVERYWHERE,
    "empty",
    "markup",
    "other types",
    "no pixels",
    "text bombs",
    "exif bombs",
    "segments",
    "encoded parts",
)
CASES = [(family, name) for name in TARGETS for family in (IMAGES if name == "store-image" else EVERYWHERE)]


@pytest.mark.parametrize(("family", "name"), CASES)
async def test_what_is_refused_leaves_no_object(
    http: aiohttp.ClientSession, site: Stack, data_dir: Path, alice: Person, *, family: str, name: str
) -> None:
    target = TARGETS[name]
    for number, (what, upload) in enumerate(FAMILIES[family]().items()):
        before = objects_in(data_dir)
        door = site.url("gateway" if number % 2 else target.service)
        answer = await send(door, aimed(upload, target, alice), target.path)
        body = json.loads(answer.body)
        if answer.status != 200:
            assert answer.status in REFUSALS, (what, answer.body)
            assert answer.headers["content-type"] == ["application/problem+json"], what
            for _ in range(600):  # thumbnails of what was accepted before pass through the spool, too
                if not (left := objects_in(data_dir) - before):
                    break
                await asyncio.sleep(0.05)
            assert not left, what
            continue
        url = target.served(body)
        url = url if url.startswith("http") else site.url("gateway") + url
        async with http.get(url, headers=alice.headers) as served:
            assert served.status == 200, what
            assert served.content_type in IMAGE_TYPES, what
            assert served.headers["X-Content-Type-Options"] == "nosniff", what
            if target.service == "media-store":
                # Pixels stay as they are, and what was hidden beside them is gone.
                assert b"<script>" not in await served.read(), what


def test_no_failure_of_ours_was_among_them(site: Stack) -> None:
    """Of this suite and those before it: no 500, and nothing that aiohttp had to catch."""
    for process in ("gateway", "auth-verify", "temp-image", "media-store", "checkout", "planter-orders"):
        assert '"event": "request_failed"' not in site.log(process)
        assert "Unhandled exception" not in site.log(process)
