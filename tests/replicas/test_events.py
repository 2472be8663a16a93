"""Server-sent events cross from one machine to the other."""

from __future__ import annotations

from contextlib import AsyncExitStack

import aiohttp

from tests.pictures import jpeg
from tests.replicas.conftest import Machines
from tests.services.auth_verify.api import SignedIn
from tests.services.planter_orders.api import Api
from tests.services.planter_orders.test_events import listening


async def test_a_listener_hears_of_a_change_at_the_other_gateway_and_goes_on_there(
    machines: Machines, http: aiohttp.ClientSession, customer: SignedIn, admin_token: str
) -> None:
    order = (await Api(http, machines.doors[0], customer.token).upload(("a.jpg", jpeg(), "image/jpeg"))).body
    order_id = order["order_id"]

    async def move(door: str, status: str) -> None:
        answer = await Api(http, door, admin_token).call(
            "PATCH", f"/api/admin/orders/{order_id}", json={"status": status}
        )
        assert answer.status == 200, answer

    async with AsyncExitStack() as stack:
        listeners = [
            await stack.enter_async_context(listening(Api(http, url, customer.token), order_id))
            for url in (machines.doors[0], *machines.of("planter-orders"))
        ]
        for listener in listeners:
            assert (first := await listener.next()) is not None
            assert first["status"] == "pending"
        await move(machines.doors[1], "paid")
        heard = [await listener.next() for listener in listeners]
    assert [event and event["status"] for event in heard] == ["paid"] * 3
    [paid] = {event["id"] for event in heard if event}
    await move(machines.doors[0], "in_production")
    async with listening(Api(http, machines.doors[1], customer.token), order_id, str(paid)) as listener:
        assert (missed := await listener.next()) is not None
        assert missed["status"] == "in_production"
        await move(machines.doors[0], "shipped")
        assert (last := await listener.next()) is not None
        assert last["status"] == "shipped"
