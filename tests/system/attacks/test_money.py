"""Nobody pays another price, says that something was paid, gets money back, or looks into somebody else's purchase."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import pytest

from tests.support.stack import Stack
from tests.system.attacks.conftest import Person
from tests.system.attacks.test_others_things import call

SESSIONS = (
    "cs_test_a1B2c3",
    "cs_live_" + "0" * 50,
    "cs_test_" + "a" * 58,
    "pi_123",
    "../x",
    "cs_test_*",
    "cs_test_%00",
    "cs_test_a&x=y",
    "A" * 300,
)


@pytest.mark.parametrize("session_id", SESSIONS)
async def test_a_checkout_session_is_known_to_who_has_its_id(
    http: aiohttp.ClientSession, site: Stack, mallory: Person, session_id: str
) -> None:
    for door in ("gateway", "checkout"):
        for who in (None, mallory):
            url = f"{site.url(door)}/api/checkout/session-status"
            status, body = await call(http, who, "GET", url, params={"session_id": session_id})
            assert status in {400, 404}
            assert "metadata" not in body
            status, _ = await call(http, who, "GET", f"{site.url(door)}/api/checkout/sessions/{session_id}/image")
            assert status in {400, 404}


async def test_money_comes_back_by_admins_alone(http: aiohttp.ClientSession, site: Stack, alice: Person) -> None:
    door = site.url("gateway")
    _, session = await call(http, None, "POST", f"{door}/api/checkout/embedded-session", json={})
    refund = {"session_id": session["session_id"]}
    for process in ("gateway", "checkout"):
        assert (await call(http, None, "POST", f"{site.url(process)}/api/checkout/refunds", json=refund))[0] == 401
        assert (await call(http, alice, "POST", f"{site.url(process)}/api/checkout/refunds", json=refund))[0] == 403


PRICES: list[dict[str, Any]] = [
    {"price": 1}, {"unit_amount": 1}, {"amount": 1}, {"price_data": {"unit_amount": 1}}, {"return_url": "https://evil.example"},
    {"quantity": 0}, {"quantity": -1}, {"quantity": 11}, {"quantity": 1.5}, {"quantity": "1e3"}, {"quantity": 2**63},
    {"quantity": True},
    {"sku": "free"}, {"sku": ["hero-me-board"]}, {"sku": "pet-planter"}, {"currency": "vnd"}, {"currency": "USDX"}, {"sku": ""},
    {"price": None}, {"amount": 0},
]  # fmt: skip


@pytest.mark.parametrize("cart", PRICES, ids=str)
async def test_nobody_names_a_price(http: aiohttp.ClientSession, site: Stack, cart: dict[str, Any]) -> None:
    for door in ("gateway", "checkout"):
        status, body = await call(http, None, "POST", f"{site.url(door)}/api/checkout/embedded-session", json=cart)
        assert status in {400, 422}
        assert "client_secret" not in body


SIGNATURES = (
    "",
    "t=1,v1=x",
    "t=,v1=",
    "v1=" + "0" * 64,
    "t={now},v1=" + "0" * 64,
    "t={now},v0=" + "0" * 64,
    "t=-1,v1=" + "0" * 64,
    "t=9e99,v1=x",
)


@pytest.mark.parametrize("signature", SIGNATURES)
async def test_nobody_says_that_something_was_paid(http: aiohttp.ClientSession, site: Stack, signature: str) -> None:
    door = site.url("gateway")
    _, session = await call(http, None, "POST", f"{door}/api/checkout/embedded-session", json={})
    event = {
        "id": "evt_1", "object": "event", "type": "checkout.session.completed",
        "data": {"object": {"id": session["session_id"], "object": "checkout.session", "payment_status": "paid"}},
    }  # fmt: skip
    now = str(int(time.time()))
    for process in ("gateway", "checkout"):
        async with http.post(
            f"{site.url(process)}/api/checkout/webhook",
            json=event,
            headers={"Stripe-Signature": signature.replace("{now}", now)},
        ) as answer:
            assert answer.status == 400
    _, status = await call(
        http, None, "GET", f"{door}/api/checkout/session-status", params={"session_id": session["session_id"]}
    )
    assert status["payment_status"] == "unpaid"
