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
from tests.system.attacks.conftest import Person, sign_up
from tests.system.attacks.test_others_things import ORGANIZATIONS, call

AT_ONCE = 50


async def upload(http: aiohttp.ClientSession, site: Stack, **headers: str) -> tuple[int, dict[str, Any]]:
    form = aiohttp.FormData()
    form.add_field("image", jpeg(), filename="a.jpg", content_type="image/jpeg")
    async with http.post(f"{site.url('gateway')}/api/temp-image-upload", data=form, headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("doors", [("gateway",), ("temp-image",), ("gateway", "temp-image")], ids="+".join)
async def test_of_fifty_retrieves_one_gets_the_image(
    http: aiohttp.ClientSession, site: Stack, doors: tuple[str, ...]
) -> None:
    for _ in range(5):
        _, kept = await upload(http, site)

        async def retrieve(number: int, image_id: str = kept["imageId"]) -> int:
            url = f"{site.url(doors[number % len(doors)])}/api/temp-image-retrieve"
            async with http.get(url, params={"imageId": image_id}) as answer:
                await answer.read()
                return answer.status

        assert Counter(await asyncio.gather(*(retrieve(n) for n in range(AT_ONCE)))) == {200: 1, 404: AT_ONCE - 1}


async def test_a_name_is_registered_once(http: aiohttp.ClientSession, site: Stack) -> None:
    name = f"racer-{secrets.token_hex(6)}"
    account = {"username": name, "email": f"{name}@shop.example", "password": "correct horse battery"}

    async def register(number: int) -> int:
        spelled = {**account, "username": name.upper() if number % 2 else name}
        return (await call(http, None, "POST", f"{site.url('gateway')}/api/auth/register", json=spelled))[0]

    assert Counter(await asyncio.gather(*(register(n) for n in range(10)))) == {201: 1, 409: 9}


async def test_a_refresh_token_has_one_successor(http: aiohttp.ClientSession, site: Stack) -> None:
    person = sign_up(site)

    async def refresh() -> tuple[int, str]:
        body = {"refresh_token": person.refresh_token}
        status, tokens = await call(http, None, "POST", f"{site.url('gateway')}/api/auth/refresh", json=body)
        return status, tokens.get("refresh_token", "")

    answers = set(await asyncio.gather(*(refresh() for _ in range(20))))
    assert {status for status, _ in answers} == {200}
    assert len(answers) == 1


async def test_two_owners_cannot_both_leave(
    http: aiohttp.ClientSession, site: Stack, alice: Person, mallory: Person
) -> None:
    door = site.url("gateway")
    for _ in range(5):
        _, made = await call(http, alice, "POST", door + ORGANIZATIONS, json={"name": "Club"})
        members = f"{door}{ORGANIZATIONS}/{made['id']}/members"
        assert (await call(http, alice, "POST", members, json={"user_id": mallory.id, "role": "owner"}))[0] == 201
        moves = (
            call(http, alice, "DELETE", f"{members}/{alice.id}"),
            call(http, mallory, "DELETE", f"{members}/{mallory.id}"),
            call(http, alice, "PATCH", f"{members}/{alice.id}", json={"role": "member"}),
            call(http, mallory, "PATCH", f"{members}/{mallory.id}", json={"role": "member"}),
        )
        await asyncio.gather(*moves)
        left = [await call(http, who, "GET", members) for who in (alice, mallory)]
        roles = {one["role"] for status, found in left if status == 200 for one in found["members"]}
        assert "owner" in roles


async def test_one_cart_has_one_open_session(http: aiohttp.ClientSession, site: Stack) -> None:
    _, kept = await upload(http, site)

    async def check_out() -> str:
        url = f"{site.url('gateway')}/api/checkout/embedded-session"
        status, body = await call(http, None, "POST", url, json={"imageId": kept["imageId"]})
        assert status == 200, body
        return str(body["session_id"])

    assert len(set(await asyncio.gather(*(check_out() for _ in range(10))))) == 1


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
