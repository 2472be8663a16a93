from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from services.planter_orders.app import build_app
from services.planter_orders.settings import PlanterOrdersSettings
from shared.http.body import read_bytes
from shared.settings import explain
from tests.support.serving import ServeApp
from tests.unit.services.planter_orders.api import INTERNAL_SECRET, JWT_SECRET, Api, token
from tests.unit.services.planter_orders.test_orders import moved, ordered

KEY = b"the key of the tests, 32 bytes .."
SECRET = "whsec_" + base64.b64encode(KEY).decode()
PATIENCE_S = 30


class Receiver:
    """Takes webhooks; `answer` says how, by the message's number."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.elsewhere = 0
        self.arrived = asyncio.Event()
        self.answer: Callable[[int], int] = lambda _number: 204

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/hook", self.take)
        app.router.add_route("*", "/elsewhere", self.divert)
        return app

    async def take(self, request: web.Request) -> web.Response:
        self.taken.append((dict(request.headers), await read_bytes(request, max_bytes=2**20)))
        self.arrived.set()
        status = self.answer(len(self.taken) - 1)
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})

    async def divert(self, _request: web.Request) -> web.Response:
        self.elsewhere += 1
        return web.Response()

    async def count(self, expected: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.taken) < expected:
                self.arrived.clear()
                await self.arrived.wait()

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.taken]


@pytest.fixture
async def receiver(serve_app: ServeApp) -> tuple[Receiver, str]:
    fake = Receiver()
    return fake, await serve_app(fake.app()) + "/hook"


@pytest.fixture
async def shops(
    receiver: tuple[Receiver, str],
    settings: PlanterOrdersSettings,
    serve_app: ServeApp,
    http: aiohttp.ClientSession,
) -> list[Api]:
    changed = settings.model_copy(update={"order_webhook_url": receiver[1], "order_webhook_secret": (SECRET,)})
    return [Api(http, await serve_app(build_app(changed, decoders=1)), token()) for _ in range(2)]


def verify(headers: dict[str, str], body: bytes) -> None:
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
    expected = base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["Content-Type"] == "application/json"


async def test_each_change_is_told_once_signed_and_in_order(shops: list[Api], receiver: tuple[Receiver, str]) -> None:
    order_id = await ordered(shops[0])
    await moved(shops[0], order_id, "paid")
    await moved(shops[1], order_id, "in_production")
    taker = receiver[0]
    await taker.count(3)
    for headers, body in taker.taken:
        verify(headers, body)
    assert [body["data"]["status"] for body in taker.bodies] == ["pending", "paid", "in_production"]
    assert {body["data"]["order_id"] for body in taker.bodies} == {order_id}
    assert {body["type"] for body in taker.bodies} == {"order.status"}
    assert len({headers["webhook-id"] for headers, _ in taker.taken}) == 3


@pytest.mark.parametrize("status", [500, 302, 400])
async def test_what_is_not_taken_is_told_again_before_what_follows(
    shops: list[Api], receiver: tuple[Receiver, str], status: int
) -> None:
    taker = receiver[0]
    taker.answer = lambda number: status if number == 0 else 200
    order_id = await ordered(shops[0])
    await moved(shops[0], order_id, "paid")
    await taker.count(3)
    assert [body["data"]["status"] for body in taker.bodies] == ["pending", "pending", "paid"]
    assert taker.taken[0][0]["webhook-id"] == taker.taken[1][0]["webhook-id"]
    assert taker.elsewhere == 0
    for headers, body in taker.taken:
        verify(headers, body)


async def test_gone_ends_a_message(shops: list[Api], receiver: tuple[Receiver, str]) -> None:
    taker = receiver[0]
    taker.answer = lambda _number: 410
    order_id = await ordered(shops[0])
    await moved(shops[0], order_id, "paid")
    await taker.count(2)
    assert [body["data"]["status"] for body in taker.bodies] == ["pending", "paid"]


async def test_one_order_does_not_hold_up_another(shops: list[Api], receiver: tuple[Receiver, str]) -> None:
    taker = receiver[0]
    taker.answer = lambda number: 500 if number == 0 else 200
    first = await ordered(shops[0])
    await taker.count(1)
    second = await ordered(shops[0])
    await taker.count(2)
    assert [body["data"]["order_id"] for body in taker.bodies] == [first, second]


@pytest.mark.parametrize("secret", ["", "whsec_ü", "whsec_"])
def test_an_address_needs_a_secret(secret: str) -> None:
    with pytest.raises(ValueError, match="ORDER_WEBHOOK_SECRET") as caught:
        PlanterOrdersSettings(
            _env_file=None,
            jwt_secret_key=JWT_SECRET,
            internal_secret=INTERNAL_SECRET,
            order_webhook_url="http://127.0.0.1:9/hook",
            order_webhook_secret=secret,
        )
    assert "ORDER_WEBHOOK_SECRET" in explain(PlanterOrdersSettings, caught.value)[0]  # type: ignore[arg-type]
