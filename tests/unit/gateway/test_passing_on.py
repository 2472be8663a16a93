from __future__ import annotations

import io
from typing import Any

import aiohttp
import pytest
import yarl

from tests.unit.gateway.conftest import bearer


async def ask(http: aiohttp.ClientSession, method: str, url: str, **options: Any) -> dict[str, Any]:
    async with http.request(method, yarl.URL(url, encoded=True), **options) as answer:
        assert answer.status == 200, await answer.text()
        told: dict[str, Any] = await answer.json()
    return told


def values(told: dict[str, Any], name: str) -> list[str]:
    return [value for given, value in told["headers"] if given.lower() == name.lower()]


@pytest.mark.parametrize(
    "target",
    [
        "/media/pet-images/a.png",
        "/media/pet-images/a.png/",
        "/media/caf%C3%A9.png?w=160&x=%2F%2e%25;..",
        "/api/user_images/a+b@c",
        "/api/user_images/%41lice/?limit=2&limit=3",
        "/api/temp-image-retrieve?imageId=",
        "/api/temp-image-retrieve/?imageId=a%20b",
    ],
)
async def test_the_target_arrives_as_it_was_sent(http: aiohttp.ClientSession, gateway: str, target: str) -> None:
    assert (await ask(http, "GET", gateway + target))["target"] == target


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000, 5_000_000])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_arrives_whole(http: aiohttp.ClientSession, gateway: str, size: int, *, chunked: bool) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def pieces() -> Any:
        for start in range(0, size, 70_000):
            yield content[start : start + 70_000]

    told = await ask(http, "POST", f"{gateway}/store-image", data=pieces() if chunked else io.BytesIO(content))
    assert told["body"].encode("latin-1") == content


async def test_what_concerns_the_service_goes_through(http: aiohttp.ClientSession, gateway: str) -> None:
    given = {
        **bearer(),
        "Range": "bytes=1-2",
        "If-None-Match": '"x"',
        "Idempotency-Key": "k",
        "X-Request-Id": "my-id",
        "X-Requested-With": "fetch",
        "X-Purpose": "preview",
        "X-Moz": "prefetch",
    }
    told = await ask(http, "GET", f"{gateway}/api/auth/me", headers=given)
    for name, value in given.items():
        assert values(told, name) == [value]
