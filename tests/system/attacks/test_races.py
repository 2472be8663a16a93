"""What may happen once happens once, however many ask at the same moment."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from typing import Any

import aiohttp
import pytest

from tests.support.pictures import jpeg
from tests.support.stack import Stack
from tests.system.attacks.conftest import sign_up
from tests.system.attacks.test_others_things import call

AT_ONCE = 50
PHOTO = jpeg()


async def upload(http: aiohttp.ClientSession, site: Stack, **headers: str) -> tuple[int, dict[str, Any]]:
    form = aiohttp.FormData()
    form.add_field("image", PHOTO, filename="a.jpg", content_type="image/jpeg")
    async with http.post(f"{site.url('gateway')}/api/temp-image-upload", data=form, headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("doors", [("gateway",), ("temp-image",), ("gateway", "temp-image")], ids="+".join)
async def test_of_fifty_retrieves_one_gets_the_image(
    http: aiohttp.ClientSession, site: Stack, doors: tuple[str, ...]
) -> None:
    for _ in range(5):
        _, kept = await upload(http, site)

        async def retrieve(number: int, image_id: str = kept["imageId"]) -> tuple[int, bool]:
            url = f"{site.url(doors[number % len(doors)])}/api/temp-image-retrieve"
            async with http.get(url, params={"imageId": image_id}) as answer:
                return answer.status, await answer.read() == PHOTO

        answers = Counter(await asyncio.gather(*(retrieve(n) for n in range(AT_ONCE))))
        assert answers == {(200, True): 1, (404, False): AT_ONCE - 1}


async def test_one_idempotency_key_has_one_answer(http: aiohttp.ClientSession, site: Stack) -> None:
    key = {"Idempotency-Key": secrets.token_hex(16)}

    async def check_out() -> tuple[int, str]:
        url = f"{site.url('gateway')}/api/checkout/embedded-session"
        async with http.post(url, json={}, headers=key) as answer:
            return answer.status, (await answer.json()).get("session_id", "")

    answers = await asyncio.gather(*(check_out() for _ in range(20)))
    assert {status for status, _ in answers} <= {200, 409}
    assert len({session for status, session in answers if status == 200}) == 1


async def test_a_session_that_ends_while_it_is_used_is_over(http: aiohttp.ClientSession, site: Stack) -> None:
    person = sign_up(site)
    door = site.url("gateway")

    async def use() -> int:
        return (await call(http, person, "GET", f"{door}/api/auth/me"))[0]

    async def end() -> int:
        body = {"refresh_token": person.refresh_token}
        return (await call(http, None, "POST", f"{door}/api/auth/logout", json=body))[0]

    answers = await asyncio.gather(*(use() for _ in range(20)), end(), *(use() for _ in range(20)))
    assert set(answers) <= {200, 401, 204}
    assert {await use() for _ in range(5)} == {401}
