"""A session that begins or ends at one machine does so at the other."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import aiohttp

from tests.replicas.conftest import Machines, eventually
from tests.services.auth_verify.api import Api, SignedIn

REFUND = ("POST", "/api/checkout/refunds")
ORDERS = ("GET", "/api/images/orders")
PRIMARY = ("POST", f"/api/user_image/{uuid4()}/set_primary/")
ME = ("GET", "/api/auth/me")
GUARDED = {"checkout": REFUND, "planter-orders": ORDERS, "media-store": PRIMARY, "auth-verify": ME}


async def test_a_logout_at_one_gateway_counts_at_the_other_and_at_every_service(
    machines: Machines, http: aiohttp.ClientSession, customer: SignedIn
) -> None:
    async def statuses() -> set[int]:
        asked = [(door, call) for door in machines.doors for call in GUARDED.values()]
        asked += [(url, call) for service, call in GUARDED.items() for url in machines.of(service)]
        return {(await Api(http, url).call(*call, token=customer.token)).status for url, call in asked}

    async def is_over() -> bool:
        return await statuses() == {401}

    assert await statuses() == {200, 403, 404}
    ended = await Api(http, machines.doors[0]).post("/api/auth/logout", {"refresh_token": customer.refresh_token})
    assert ended.status == 204
    await eventually(is_over)
    again = await Api(http, machines.doors[1]).refresh(customer.refresh_token)
    assert again.status == 401


async def test_a_refresh_token_used_at_both_at_once_has_one_successor_and_its_family_lives(
    machines: Machines, http: aiohttp.ClientSession, customer: SignedIn
) -> None:
    both = [Api(http, url) for url in machines.of("auth-verify")]
    answers = await asyncio.gather(*(both[number % 2].refresh(customer.refresh_token) for number in range(10)))
    assert {answer.status for answer in answers} == {200}
    [successor] = {answer.body["refresh_token"] for answer in answers}
    for answer in answers:
        assert (await Api(http, machines.doors[1]).get("/api/auth/me", answer.body["access_token"])).status == 200
    last = await both[1].refresh(successor)
    assert last.status == 200
    assert (await Api(http, machines.doors[0]).get("/api/auth/me", last.body["access_token"])).status == 200
