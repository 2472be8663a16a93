"""What may happen once, or so many times a minute, happens no more often, whichever gateway and replica is asked."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter
from typing import Any

import aiohttp

from services.checkout.sandbox.webhooks import sign
from tests.pictures import jpeg
from tests.replicas.conftest import Machines, eventually, metric, requests_answered
from tests.services.auth_verify.api import Api, Reply, SignedIn
from tests.services.planter_orders.api import Api as OrdersApi

HELD_BYTES = "/internal/holds/{image_id}/{holder}/bytes"


def form(**fields: str) -> aiohttp.FormData:
    made = aiohttp.FormData()
    for name, value in fields.items():
        made.add_field(name, value)
    made.add_field("image", jpeg(), filename="a.jpg", content_type="image/jpeg")
    return made


async def upload(http: aiohttp.ClientSession, door: str) -> str:
    return str((await Api(http, door).call("POST", "/api/temp-image-upload", data=form())).body["imageId"])


async def counted_in_process(http: aiohttp.ClientSession, machines: Machines) -> float:
    """Return how often a gateway counted alone, since Redis took longer than it waits."""
    return sum([await metric(http, door, "keepsake_rate_limits_in_process_total") for door in machines.doors])


async def test_ten_images_a_minute_are_stored_over_both_gateways_together(
    machines: Machines, http: aiohttp.ClientSession
) -> None:
    async def store(number: int, address: str) -> Reply:
        api = Api(http, machines.doors[number % 2])
        return await api.call("POST", "/store-image", data=form(), headers={"X-Forwarded-For": address})

    for attempt in range(5):  # on a machine so busy that Redis is late, with somebody else again
        before, address = await counted_in_process(http, machines), f"203.0.113.{attempt}"
        allowed = [await store(number, address) for number in range(10)]
        refused = await asyncio.gather(*(store(number, address) for number in range(4)))
        if await counted_in_process(http, machines) == before:
            break
    assert [answer.status for answer in allowed] == [200] * 10
    for answer in refused:
        assert answer.status == 429, answer
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
        apis[number % 2].call("POST", "/api/upload_user_image/", token=customer.token, data=form(**fields))
        for number in range(4)
    ]
    ids = [answer.body["image"]["id"] for answer in await asyncio.gather(*uploads)]
    moves = [apis[n % 2].post(f"/api/user_image/{ids[n % 4]}/set_primary/", token=customer.token) for n in range(20)]
    assert {answer.status for answer in await asyncio.gather(*moves)} == {200}
    for api in apis:
        images = (await api.get(f"/api/user_images/{customer.username}/")).body["images"]
        assert sorted(image["is_primary"] for image in images) == [False, False, False, True]


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


def orders_of(http: aiohttp.ClientSession, machines: Machines, token: str) -> list[OrdersApi]:
    return [OrdersApi(http, door, token) for door in machines.doors]


async def test_an_order_sent_with_one_key_to_both_gateways_at_once_is_one_order(
    machines: Machines, http: aiohttp.ClientSession, customer: SignedIn
) -> None:
    apis, key, photo = orders_of(http, machines, customer.token), secrets.token_hex(16), ("a.jpg", jpeg(), "image/jpeg")
    fields = {"pet_name": "Rex"}
    answers = await asyncio.gather(*(apis[n % 2].upload(photo, fields=fields, key=key) for n in range(10)))
    assert {answer.status for answer in answers} <= {200, 409}  # 409: the first is still at work
    later = [await api.upload(photo, fields=fields, key=key) for api in apis]
    made = {answer.body["order_id"] for answer in [*answers, *later] if answer.status == 200}
    assert [answer.status for answer in later] == [200, 200]
    for api in apis:
        orders = (await api.call("GET", "/api/images/orders")).body["orders"]
        assert {order["order_id"] for order in orders} == made
        assert len(orders) == 1
