"""Paying at the Stripe sandbox, and telling both checkouts of it again and again at the same moment."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Any

import aiohttp

from stripe_sandbox.webhooks import sign
from tests.system.replicas.conftest import Machines
from tests.unit.services.auth_verify.api import Api


async def stripe_lists(http: aiohttp.ClientSession, machines: Machines, path: str) -> list[dict[str, Any]]:
    async with http.get(f"{machines.stripe}{path}", headers={"Authorization": "Bearer sk_test_1"}) as answer:
        found: list[dict[str, Any]] = (await answer.json())["data"]
        return found


async def pay(http: aiohttp.ClientSession, machines: Machines, session_id: str) -> dict[str, Any]:
    """Press Pay, and return the event that says so."""
    url = f"{machines.stripe}/pay/{session_id}"
    async with http.post(url, data={"action": "pay"}, allow_redirects=False) as answer:
        assert answer.status == 303
    events = await stripe_lists(http, machines, "/v1/events?type=checkout.session.completed&limit=100")
    return next(event for event in events if event["data"]["object"]["id"] == session_id)


async def ask_fifty_times(
    http: aiohttp.ClientSession, machines: Machines, session_id: str, event: dict[str, Any], token: str | None = None
) -> list[int]:
    """Ask for the session's status and deliver events, each half the time and at either machine, all at once."""

    async def ask(number: int) -> int:
        checkout = Api(http, machines.of("checkout")[number % 2])
        if number % 4 < 2:
            return (await checkout.get(f"/api/checkout/session-status?session_id={session_id}", token)).status
        # Some are delivered twice and to both, others are further events about the same payment.
        told = event if number % 8 < 4 else {**event, "id": f"evt_{secrets.token_hex(12)}"}
        payload = json.dumps(told).encode()
        headers = {"Stripe-Signature": sign(payload, machines.setting("STRIPE_WEBHOOK_SECRET"), int(time.time()))}
        return (await checkout.call("POST", "/api/checkout/webhook", data=payload, headers=headers)).status

    return list(await asyncio.gather(*(ask(number) for number in range(50))))
