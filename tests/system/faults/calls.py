"""One call of each kind that a customer makes through the gateway, and what each depends on."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support import pictures
from tests.support.stack import Stack

IMAGE = pictures.of_bytes(20_000)
LARGE = pictures.of_bytes(2_000_000)
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Answer:
    """What came back, whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True)
class Customer:
    """Somebody signed in, with something of each kind."""

    door: str
    username: str
    token: str
    stored_url: str = ""
    open_session: str = ""
    paid_session: str = ""

    async def call(
        self, http: aiohttp.ClientSession, method: str, path: str, *, with_token: bool = True, **options: Any
    ) -> Answer:
        """Send one request to the gateway."""
        headers = {"Authorization": f"Bearer {self.token}"} if with_token and self.token else {}
        async with http.request(method, self.door + path, headers=headers, **options) as answer:
            return Answer(answer.status, {**answer.headers}, await answer.read())

    async def upload(self, http: aiohttp.ClientSession, image: bytes = IMAGE) -> Answer:
        return await self.call(http, "POST", "/api/temp-image-upload", data=form(image))

    async def retrieve(self, http: aiohttp.ClientSession, image_id: str) -> Answer:
        return await self.call(http, "GET", f"/api/temp-image-retrieve?imageId={image_id}")

    async def store(self, http: aiohttp.ClientSession, image: bytes = IMAGE) -> Answer:
        return await self.call(http, "POST", "/store-image", data=form(image))

    async def order(self, http: aiohttp.ClientSession) -> Answer:
        return await self.call(http, "POST", "/api/images/upload", data=form(IMAGE, "files"))

    async def check_out(self, http: aiohttp.ClientSession, body: dict[str, str] | None = None) -> Answer:
        return await self.call(http, "POST", "/api/checkout/embedded-session", json=body or {}, with_token=False)


def form(image: bytes, field: str = "image", **texts: str) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, text in texts.items():
        data.add_field(name, text)
    data.add_field(field, io.BytesIO(image), filename="photo.jpg", content_type="image/jpeg")
    return data


async def sign_in(http: aiohttp.ClientSession, door: str, username: str) -> Answer:
    body = {"username": username, "password": PASSWORD}
    return await Customer(door, "", "").call(http, "POST", "/api/auth/login", json=body)


async def sign_up(http: aiohttp.ClientSession, stack: Stack) -> Customer:
    door, username = stack.url("gateway"), f"customer-{secrets.token_hex(6)}"
    account = {"username": username, "email": f"{username}@shop.example", "password": PASSWORD}
    registered = await Customer(door, "", "").call(http, "POST", "/api/auth/register", json=account)
    assert registered.status == 201, registered.body
    return Customer(door, username, (await sign_in(http, door, username)).json["access_token"])


async def become_customer(http: aiohttp.ClientSession, stack: Stack) -> Customer:
    """Sign up, store an image, open a session, and buy another image."""
    customer = await sign_up(http, stack)
    stored = (await customer.store(http)).json["url"]
    opened = (await customer.check_out(http)).json["session_id"]
    image_id = (await customer.upload(http, LARGE)).json["imageId"]
    paid = (await customer.check_out(http, {"imageId": image_id})).json["session_id"]
    pay = f"{stack.url('stripe-sandbox')}/pay/{paid}"
    async with http.post(pay, data={"action": "pay"}, allow_redirects=False) as answer:
        assert answer.status == 303
    customer = Customer(customer.door, customer.username, customer.token, stored, opened, paid)
    async with asyncio.timeout(30):
        while (await bought(customer, http)).status != 200:  # noqa: ASYNC110 - the webhook tells checkout, not us
            await asyncio.sleep(0.1)
    return customer


async def bought(customer: Customer, http: aiohttp.ClientSession) -> Answer:
    return await customer.call(http, "GET", f"/api/checkout/sessions/{customer.paid_session}/image")


async def log_in_and_out(customer: Customer, http: aiohttp.ClientSession) -> Answer:
    tokens = await sign_in(http, customer.door, customer.username)
    if tokens.status != 200:
        return tokens
    body = {"refresh_token": tokens.json["refresh_token"]}
    return await customer.call(http, "POST", "/api/auth/logout", json=body, with_token=False)


async def upload_user_image(customer: Customer, http: aiohttp.ClientSession) -> Answer:
    data = form(IMAGE, username=customer.username, image_type="gallery")
    return await customer.call(http, "POST", "/api/upload_user_image/", data=data)


async def ask_as_a_stranger(customer: Customer, http: aiohttp.ClientSession) -> Answer:
    """Ask for an upload to a strange organisation, a no that media-store does not remember."""
    body = {"content_type": "image/jpeg", "filename": "a.jpg"}
    return await customer.call(http, "POST", f"/api/v1/organizations/{customer.username}/temp-image-upload", json=body)


@dataclass(frozen=True)
class Call:
    """A call, whose process answers it, what that depends on, always or at times, and the status where all is well."""

    service: str
    needs: frozenset[str]
    send: Callable[[Customer, aiohttp.ClientSession], Awaitable[Answer]]
    fine: int = 200
    needs_at_times: frozenset[str] = frozenset()


def _get(path: str) -> Callable[[Customer, aiohttp.ClientSession], Awaitable[Answer]]:
    return lambda customer, http: customer.call(http, "GET", path.format(me=customer))


def _needs(names: str) -> frozenset[str]:
    return frozenset(names.split())


CALLS: dict[str, Call] = {
    "upload": Call("temp-image", _needs("redis"), Customer.upload),
    "retrieve": Call("temp-image", _needs("redis"), _get(f"/api/temp-image-retrieve?imageId={'0' * 32}"), 404),
    "log in and out": Call("auth-verify", _needs("database redis auth-verify"), log_in_and_out, 204),
    "me": Call("auth-verify", _needs("database auth-verify"), _get("/api/auth/me")),
    "store": Call("media-store", _needs("database storage"), Customer.store),
    "fetch": Call(
        "media-store",
        _needs("storage"),
        lambda customer, http: customer.call(http, "GET", customer.stored_url.removeprefix(customer.door)),
        needs_at_times=_needs("database"),  # what was looked up is remembered for a moment
    ),
    "list images": Call("media-store", _needs("database"), _get("/api/user_images/{me.username}/")),
    "upload a user's image": Call("media-store", _needs("database storage"), upload_user_image),
    "be a stranger": Call("media-store", _needs("auth-verify database"), ask_as_a_stranger, 403),
    "order": Call("planter-orders", _needs("database storage"), Customer.order),
    "list orders": Call("planter-orders", _needs("database"), _get("/api/images/orders")),
    "check out": Call("checkout", _needs("database stripe"), Customer.check_out),
    "session status": Call(
        "checkout", _needs("database stripe"), _get("/api/checkout/session-status?session_id={me.open_session}")
    ),
    "bought image": Call("checkout", _needs("database storage"), bought),
}
