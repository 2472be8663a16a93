from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from aiohttp import web

from shared.auth.access_tokens import sign_service_token
from tests.unit.services.checkout.shop import INTERNAL_SECRET, Shop


async def ask(shop: Shop, key: str, body: dict[str, Any] | None = None, **options: Any) -> tuple[int, Any]:
    headers = {"Idempotency-Key": key, **options.pop("headers", {})}
    return await shop.open(body, headers=headers, **options)


async def test_the_same_key_and_content_give_the_first_answer_again(shop: Shop) -> None:
    first = await ask(shop, "a")
    assert first[0] == 200
    assert await ask(shop, "a") == first
    assert await ask(shop, "a", {"quantity": 1, "unknown": 5}) == first
    status, answer = await ask(shop, "a", {"quantity": 2})
    assert (status, answer["code"]) == (422, "idempotency_key_reused")
    assert (await ask(shop, "b"))[1]["session_id"] != first[1]["session_id"]
    assert len(shop.ledger.store.select("checkout.session")) == 2
    async with shop.http.post(
        f"{shop.urls['checkout']}/api/checkout/embedded-session", json={}, headers={"Idempotency-Key": "a"}
    ) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_a_refusal_is_an_answer_too(shop: Shop) -> None:
    gone = {"imageId": "0" * 32}
    first = await ask(shop, "a", gone)
    assert first[0] == 409
    assert await ask(shop, "a", gone) == first


async def test_of_many_at_once_one_is_done(shop: Shop) -> None:
    answers = await asyncio.gather(*(ask(shop, "a") for _ in range(20)))
    done = [answer["session_id"] for status, answer in answers if status == 200]
    assert len(set(done)) == 1
    assert {answer["code"] for status, answer in answers if status != 200} <= {"idempotency_in_progress"}
    assert len(shop.ledger.store.select("checkout.session")) == 1
    assert (await ask(shop, "a"))[1]["session_id"] == done[0]


async def test_a_key_counts_for_a_day(shop: Shop) -> None:
    first = await ask(shop, "a")
    shop.ahead += timedelta(hours=23, minutes=55)
    assert await ask(shop, "a") == first
    shop.ahead += timedelta(minutes=10)
    assert (await ask(shop, "a", {"quantity": 2}))[0] == 200


async def test_a_failure_is_not_remembered(shop: Shop) -> None:
    async def fail(request: web.Request) -> web.Response | None:
        return web.json_response({}, status=500, headers={"Stripe-Should-Retry": "false"})

    shop.trouble = fail
    assert (await ask(shop, "a"))[0] == 503
    shop.trouble = None
    first = await ask(shop, "a")
    assert first[0] == 200
    assert await ask(shop, "a") == first
    assert (await ask(shop, "b", {"order_id": "o1"}))[0] == 401
    shop.book.add("o1")
    assert (await ask(shop, "b", {"order_id": "o1"}, user="ann"))[0] == 200


async def test_who_died_blocks_the_key_for_a_moment_only(shop: Shop) -> None:
    reached = asyncio.Event()

    async def die(request: web.Request) -> web.Response | None:
        reached.set()
        await asyncio.sleep(60)
        return None

    shop.trouble = die
    first = asyncio.create_task(ask(shop, "a"))
    await reached.wait()
    status, answer = await ask(shop, "a")
    assert (status, answer["code"]) == (409, "idempotency_in_progress")
    shop.trouble = None
    shop.ahead += timedelta(seconds=30)
    second = await ask(shop, "a")
    assert second[0] == 200
    first.cancel()
    assert await ask(shop, "a") == second


async def test_keys_are_their_callers_own(shop: Shop) -> None:
    def through_gateway(address: str, secret: str = INTERNAL_SECRET, caller: str = "gateway") -> dict[str, str]:
        return {"X-Keepsake-Gateway": sign_service_token(secret, caller=caller, audience="checkout", addr=address)}

    answers = [
        await ask(shop, "a"),
        await ask(shop, "a", user="ann"),
        await ask(shop, "a", user="bob"),
        await ask(shop, "a", headers=through_gateway("192.0.2.1")),
        await ask(shop, "a", headers=through_gateway("192.0.2.2")),
    ]
    assert len({answer["session_id"] for _, answer in answers}) == 5
    assert await ask(shop, "a", headers=through_gateway("192.0.2.2")) == answers[4]
    assert await ask(shop, "a", headers=through_gateway("192.0.2.3", caller="temp-image")) == answers[0]
    assert (await ask(shop, "a", headers=through_gateway("192.0.2.2", secret="x" * 40)))[0] == 401


async def test_a_malformed_key_is_refused(shop: Shop) -> None:
    for key in ("", " ", "a b", "é", "x" * 256):
        status, answer = await ask(shop, key)
        assert (status, answer["code"]) == (422, "idempotency_key_malformed"), key
    assert (await ask(shop, "x" * 255))[0] == 200
