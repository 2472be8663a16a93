"""`sandbox`: a running Stripe sandbox, a real SDK client of it, and a receiver of its webhooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stripe
from aiohttp import web

from shared.http.body import read_bytes
from stripe_sandbox.api import LEDGER
from stripe_sandbox.app import create_app
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.settings import SandboxSettings
from tests.support.serving import serving

SECRET = "whsec_sandbox"
RETURN_URL = "http://localhost:3000/hero-me?session_id={CHECKOUT_SESSION_ID}"


@dataclass
class Clock:
    """The real time, which a test can move on."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class Receiver:
    """Takes webhooks, checks their signatures as the SDK does, and answers with `status`."""

    status: int = 200
    events: list[stripe.Event] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.Response:
        event = stripe.Webhook.construct_event(
            await read_bytes(request, max_bytes=2**20), request.headers["Stripe-Signature"], SECRET
        )
        async with self.arrived:
            self.events.append(event)
            self.arrived.notify_all()
        return web.Response(status=self.status)

    async def wait_for(self, kind: str, times: int = 1) -> Any:
        """Return the last event of a kind, as soon as there were so many of it."""

        def last() -> stripe.Event | None:
            found = [event for event in self.events if event.type == kind]
            return found[-1] if len(found) >= times else None

        async with asyncio.timeout(30), self.arrived:
            while (event := last()) is None:
                await self.arrived.wait()
        return event


@dataclass
class Sandbox:
    """What a test talks to: `client` is the SDK, `http` a browser that follows no redirects."""

    url: str
    client: Any  # an SDK's `StripeClient`; by its types what is expanded might be its id as well
    http: aiohttp.ClientSession
    receiver: Receiver
    ledger: Ledger
    clock: Clock

    async def create(self, **changes: Any) -> Any:
        """Create the session of `session_params`."""
        return await self.client.v1.checkout.sessions.create_async(session_params(**changes))

    async def press(self, session_id: str, **form: str) -> tuple[int, str, str]:
        """Send the pay page's form; return the status, where it leads, and the page."""
        async with self.http.post(f"{self.url}/pay/{session_id}", data=form, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", ""), await answer.text()

    async def call(self, method: str, path: str, form: str = "", **headers: str) -> tuple[int, dict[str, Any], Any]:
        """Call the API without the SDK; return the status, the JSON and the headers."""
        sent = {"Authorization": "Bearer sk_test_1", "Content-Type": "application/x-www-form-urlencoded", **headers}
        async with self.http.request(method, self.url + path, data=form.encode() or None, headers=sent) as answer:
            return answer.status, await answer.json(), answer.headers


def line_item(amount: int = 200, currency: str = "usd", quantity: int = 1) -> dict[str, Any]:
    """Return the parameters of a line."""
    price = {"currency": currency, "unit_amount": amount, "product_data": {"name": "A board"}}
    return {"quantity": quantity, "price_data": price}


def session_params(**changes: Any) -> Any:
    """Return the parameters of an embedded session, changed; `None` takes one out."""
    params = {
        "ui_mode": "embedded_page",
        "mode": "payment",
        "return_url": RETURN_URL,
        "line_items": [line_item()],
        "metadata": {"imageId": "0123456789abcdef0123456789abcdef"},
        "payment_intent_data": {"metadata": {"imageId": "0123456789abcdef0123456789abcdef"}},
    } | changes
    return {name: value for name, value in params.items() if value is not None}


StartSandbox = Callable[..., Awaitable[Sandbox]]


@pytest.fixture
async def start_sandbox(tmp_path: Path) -> AsyncIterator[StartSandbox]:
    """Give a function that starts a sandbox; it passes its arguments on to `create_app`."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Sandbox:
            receiver, clock = Receiver(), Clock()
            shop = web.Application()
            shop.router.add_post("/api/checkout/webhook", receiver.take)
            settings = SandboxSettings(
                _env_file=None,
                data_dir=tmp_path,
                checkout_url=(await stack.enter_async_context(serving(shop)),),
                stripe_webhook_secret=(SECRET,),
            )
            app = create_app(settings, now=clock, **options)
            url = await stack.enter_async_context(serving(app))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            transport = stripe.AIOHTTPClient()
            stack.push_async_callback(transport.close_async)
            client = stripe.StripeClient(
                "sk_test_1", base_addresses={"api": url}, max_network_retries=0, http_client=transport
            )
            return Sandbox(url, client, http, receiver, app[LEDGER], clock)

        yield start


@pytest.fixture
async def sandbox(start_sandbox: StartSandbox) -> Sandbox:
    """Give a sandbox of this test's own."""
    return await start_sandbox()
