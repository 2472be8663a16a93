"""Two machines over one Redis, one PostgreSQL and one bucket, with a gateway and every service on each.

One file, so that they are started once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from uuid import uuid4

import aiohttp
import pytest

from tests.support.stack import MODULES, URL_SETTINGS
from tests.system.replicas.conftest import SANDBOX, Machines, eventually, metric, requests_answered
from tests.system.replicas.payments import ask_fifty_times, pay, stripe_lists
from tests.system.replicas.shopper import PHOTO, Shopper, upload
from tests.unit.services.auth_verify.api import Api, Reply, SignedIn
from tests.unit.services.media_store.store import form
from tests.unit.services.planter_orders.api import Api as OrdersApi
from tests.unit.services.planter_orders.test_events import listening

HELD_BYTES = "/internal/holds/{image_id}/{holder}/bytes"
REFUND = ("POST", "/api/checkout/refunds")
ORDERS = ("GET", "/api/images/orders")
PRIMARY = ("POST", f"/api/user_image/{uuid4()}/set_primary/")
ME = ("GET", "/api/auth/me")
GUARDED = {"checkout": REFUND, "planter-orders": ORDERS, "media-store": PRIMARY, "auth-verify": ME}
ROUTES = {
    "auth-verify": "/api/auth/me",
    "temp-image": "/api/temp-image-retrieve",
    "media-store": "/media/{key}",
    "checkout": "/api/checkout/session-status",
    "planter-orders": "/api/images/orders",
}


async def test_two_of_each_service_start_at_once_on_an_empty_database(
    machines: Machines, http: aiohttp.ClientSession
) -> None:
    for service in MODULES.keys() - {SANDBOX}:
        for url in machines.of(service):
            answer = await Api(http, url).get("/ready")
            assert (answer.status, answer.body["status"]) == (200, "ready"), service
    published = [(await Api(http, url).get("/.well-known/jwks.json")).body for url in machines.of("auth-verify")]
    assert published[0] == published[1]
    assert len(published[0]["keys"]) == 2  # the current one and the next


async def counted_in_process(http: aiohttp.ClientSession, machines: Machines) -> float:
    """Return how often a gateway counted alone, since Redis took longer than it waits."""
    return sum([await metric(http, door, "keepsake_rate_limits_in_process_total") for door in machines.doors])


async def test_ten_images_a_minute_are_stored_over_both_gateways_together(
    machines: Machines, http: aiohttp.ClientSession
) -> None:
    async def store(number: int, address: str) -> Reply:
        api = Api(http, machines.doors[number % 2])
        return await api.call("POST", "/store-image", data=form(PHOTO[1]), headers={"X-Forwarded-For": address})

    for _ in range(5):  # on a machine so busy that Redis is late, again as somebody else
        before, address = await counted_in_process(http, machines), f"2001:db8:{secrets.token_hex(2)}::1"
        answers = await asyncio.gather(*(store(number, address) for number in range(14)))
        later = [await store(number, address) for number in range(2)]
        if await counted_in_process(http, machines) == before:
            break
    assert Counter(answer.status for answer in answers) == {200: 10, 429: 4}
    assert [answer.status for answer in later] == [429, 429]
    for answer in [*answers, *later]:
        if answer.status == 429:
            assert 1 <= int(answer.headers["Retry-After"]) <= 60


async def test_of_fifty_retrieves_over_both_gateways_one_gets_the_image(
    machines: Machines, http: aiohttp.ClientSession
) -> None:
    for _ in range(3):
        image_id = await upload(http, machines.doors[0])

        async def retrieve(number: int, image_id: str = image_id) -> int:
            api = Api(http, machines.doors[number % 2])
            return (await api.get(f"/api/temp-image-retrieve?imageId={image_id}")).status

        assert Counter(await asyncio.gather(*(retrieve(n) for n in range(50)))) == {200: 1, 404: 49}


async def test_twenty_who_set_the_primary_image_at_once_leave_one(
    machines: Machines, http: aiohttp.ClientSession, customer: SignedIn
) -> None:
    apis = [Api(http, door) for door in machines.doors]
    fields = {"username": customer.username, "image_type": "gallery", "is_primary": "true"}
    uploads = [
        apis[number % 2].call("POST", "/api/upload_user_image/", token=customer.token, data=form(PHOTO[1], **fields))
        for number in range(4)
    ]
    ids = [answer.body["image"]["id"] for answer in await asyncio.gather(*uploads)]
    moves = [apis[n % 2].post(f"/api/user_image/{ids[n % 4]}/set_primary/", token=customer.token) for n in range(20)]
    assert {answer.status for answer in await asyncio.gather(*moves)} == {200}
    for api in apis:
        images = (await api.get(f"/api/user_images/{customer.username}/")).body["images"]
        assert sorted(image["is_primary"] for image in images) == [False, False, False, True]


async def held_bytes_read(http: aiohttp.ClientSession, machines: Machines) -> float:
    return sum([await requests_answered(http, url, HELD_BYTES) for url in machines.of("temp-image")])


async def test_a_payment_told_fifty_times_to_both_checkouts_is_fulfilled_once(
    machines: Machines, http: aiohttp.ClientSession
) -> None:
    image_id = await upload(http, machines.doors[0])
    body = {"imageId": image_id}
    opened = await asyncio.gather(
        *(Api(http, machines.doors[n % 2]).post("/api/checkout/embedded-session", body) for n in range(10))
    )
    assert {answer.status for answer in opened} == {200}
    [session_id] = {answer.body["session_id"] for answer in opened}
    read_before = await held_bytes_read(http, machines)
    event = await pay(http, machines, session_id)
    assert set(await ask_fifty_times(http, machines, session_id, event)) == {200}
    path = f"/api/checkout/session-status?session_id={session_id}"

    async def is_promoted() -> bool:
        answers = [(await Api(http, door).get(path)).body for door in machines.doors]
        return all(answer["image"]["state"] == "promoted" for answer in answers)

    await eventually(is_promoted)
    kept = machines.s3_client.list_objects_v2(Bucket=machines.bucket, Prefix=f"checkouts/{session_id}/")
    assert kept["KeyCount"] == 1
    # The held bytes were fetched for it once: one promotion, and not several under one key.
    assert await held_bytes_read(http, machines) == read_before + 1
    charges = await stripe_lists(http, machines, "/v1/events?type=charge.succeeded&limit=100")
    intent = event["data"]["object"]["payment_intent"]
    assert [charge["data"]["object"]["payment_intent"] for charge in charges].count(intent) == 1
    sessions = await stripe_lists(http, machines, "/v1/checkout/sessions?limit=100")
    assert [session["metadata"].get("imageId") for session in sessions].count(image_id) == 1


async def move(http: aiohttp.ClientSession, door: str, admin_token: str, order_id: str, status: str) -> None:
    admin = OrdersApi(http, door, admin_token)
    answer = await admin.call("PATCH", f"/api/admin/orders/{order_id}", json={"status": status})
    assert answer.status == 200, answer


async def test_an_order_whose_payment_is_told_fifty_times_becomes_paid_once(
    machines: Machines, http: aiohttp.ClientSession, customer: SignedIn, admin_token: str
) -> None:
    orders = OrdersApi(http, machines.doors[0], customer.token)
    order_id = (await orders.upload(PHOTO)).body["order_id"]
    body = {"order_id": order_id}
    opened = await Api(http, machines.doors[1]).post("/api/checkout/embedded-session", body, customer.token)
    session_id = opened.body["session_id"]
    event = await pay(http, machines, session_id)
    assert set(await ask_fifty_times(http, machines, session_id, event, customer.token)) == {200}

    async def is_paid() -> bool:
        return bool((await orders.order(order_id))["status"] == "paid")

    await eventually(is_paid)
    await move(http, machines.doors[1], admin_token, order_id, "in_production")
    history: list[str] = []
    async with listening(orders, order_id, "0") as listener:
        while "in_production" not in history:
            told = await listener.next()
            assert told is not None
            history.append(told["status"])
    assert history == ["pending", "awaiting_payment", "paid", "in_production"]


async def test_an_order_sent_with_one_key_to_both_gateways_at_once_is_one_order(
    machines: Machines, http: aiohttp.ClientSession, customer: SignedIn
) -> None:
    apis, key = [OrdersApi(http, door, customer.token) for door in machines.doors], secrets.token_hex(16)
    answers = await asyncio.gather(*(apis[n % 2].upload(PHOTO, key=key) for n in range(10)))
    assert {answer.status for answer in answers} <= {200, 409}  # 409: the first is still at work
    later = [await api.upload(PHOTO, key=key) for api in apis]
    made = {answer.body["order_id"] for answer in [*answers, *later] if answer.status == 200}
    assert [answer.status for answer in later] == [200, 200]
    for api in apis:
        orders = (await api.call("GET", "/api/images/orders")).body["orders"]
        assert {order["order_id"] for order in orders} == made
        assert len(orders) == 1


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


async def test_a_listener_hears_of_a_change_at_the_other_gateway_and_goes_on_there(
    machines: Machines, http: aiohttp.ClientSession, customer: SignedIn, admin_token: str
) -> None:
    order_id = (await OrdersApi(http, machines.doors[0], customer.token).upload(PHOTO)).body["order_id"]
    async with AsyncExitStack() as stack:
        listeners = [
            await stack.enter_async_context(listening(OrdersApi(http, url, customer.token), order_id))
            for url in (machines.doors[0], *machines.of("planter-orders"))
        ]
        for listener in listeners:
            assert (first := await listener.next()) is not None
            assert first["status"] == "pending"
        await move(http, machines.doors[1], admin_token, order_id, "paid")
        heard = [await listener.next() for listener in listeners]
    assert [event and event["status"] for event in heard] == ["paid"] * 3
    [paid] = {event["id"] for event in heard if event}
    await move(http, machines.doors[0], admin_token, order_id, "in_production")
    async with listening(OrdersApi(http, machines.doors[1], customer.token), order_id, str(paid)) as listener:
        assert (missed := await listener.next()) is not None
        assert missed["status"] == "in_production"
        await move(http, machines.doors[0], admin_token, order_id, "shipped")
        assert (last := await listener.next()) is not None
        assert last["status"] == "shipped"


@pytest.fixture
def second_is_back(machines: Machines) -> Iterator[None]:
    """Start again what a test killed on the second machine."""
    yield
    machines.both[1].start(*(name for name in (*URL_SETTINGS, "gateway") if not machines.both[1].runs(name)))


async def test_one_replica_of_each_service_may_be_killed_and_is_used_again_when_it_is_back(
    machines: Machines, http: aiohttp.ClientSession, customer: SignedIn, second_is_back: None
) -> None:
    shopper, second = Shopper(http, machines, customer), machines.both[1]
    await shopper.prepare()
    async with shopper.reading():
        await shopper.write_all(machines.doors[0])
        for service in URL_SETTINGS:
            await asyncio.to_thread(second.kill, service)
            await asyncio.sleep(0.1)
    assert set(shopper.read) == {(service, 200, "") for service in URL_SETTINGS}
    shopper.written.clear()
    for number in range(6):
        await shopper.write_all(machines.doors[number % 2])
    for service, statuses in shopper.written.items():
        assert set(statuses[1:]) == {200}, (service, statuses)
    assert set(shopper.written) == set(URL_SETTINGS)
    await shopper.read_all()

    await asyncio.to_thread(second.start, *URL_SETTINGS)

    async def is_used_again() -> bool:
        await shopper.read_all()
        answered = [await requests_answered(http, second.url(service), route) for service, route in ROUTES.items()]
        return all(answered)

    await eventually(is_used_again)
    assert set(shopper.read) == {(service, 200, "") for service in URL_SETTINGS}


async def test_one_gateway_may_be_killed_and_the_other_gives_out_what_it_took(
    machines: Machines, http: aiohttp.ClientSession, customer: SignedIn, second_is_back: None
) -> None:
    image_id = await upload(http, machines.doors[1])
    await asyncio.to_thread(machines.both[1].kill, "gateway")
    async with http.get(f"{machines.doors[0]}/api/temp-image-retrieve", params={"imageId": image_id}) as answer:
        assert (answer.status, await answer.read()) == (200, PHOTO[1])
