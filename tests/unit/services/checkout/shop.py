"""A shop around checkout: the real temp-image and Stripe sandbox, an order service, and the postman between them."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import sqlalchemy as sa
from aiohttp import web
from aiohttp.typedefs import Handler
from PIL import Image

from services.checkout.adapters.sql.tables import DISPUTES, EVENTS
from services.checkout.app import build_app
from services.checkout.handlers.app_keys import OBJECTS, SERVICE
from services.checkout.model.sessions import CheckoutSession
from services.checkout.service import CheckoutService
from services.checkout.settings import CheckoutSettings
from services.temp_image.app import build_app as build_temp_image
from services.temp_image.settings import TempImageSettings
from shared.auth.access_tokens import ServiceGuard, sign_service_token
from shared.clock import utc_now
from shared.http.body import read_bytes
from stripe_sandbox.api import LEDGER
from stripe_sandbox.app import create_app
from stripe_sandbox.settings import SandboxSettings
from tests.support.serving import serving
from tests.support.stripe_types import KINDS, faults_of

JWT_SECRET = "j" * 40
INTERNAL_SECRET = "i" * 40
WEBHOOK_SECRET = "whsec_first"
PUBLIC_URL = "http://shop.test"
JSON = dict[str, Any]
Trouble = Callable[[web.Request], Awaitable[web.Response | None]]
MOVES: dict[str, set[str]] = {
    "pending": {"awaiting_payment", "paid", "cancelled"},
    "awaiting_payment": {"pending", "paid", "cancelled"},
    "paid": {"refunded"},
    "cancelled": set(),
    "refunded": set(),
}


def picture(color: str = "red") -> bytes:
    """Return a small PNG."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(file, "PNG")
    return file.getvalue()


def token(user: str = "ann", *, admin: bool = False, **claims: Any) -> str:
    """Return an access token."""
    own = {"sub": user, "iss": "keepsake", "aud": "keepsake", "exp": int(time.time()) + 86_400}
    return jwt.encode({**own, "roles": ["admin"] if admin else [], **claims}, JWT_SECRET, "HS256")


@dataclass
class Postman:
    """Stands between the sandbox and checkout: passes events on, keeps them back, and brings them again."""

    url: str = ""
    passing: bool = True
    events: list[tuple[bytes, str]] = field(default_factory=list)
    http: aiohttp.ClientSession | None = None

    async def take(self, request: web.Request) -> web.Response:
        """Take one event from the sandbox."""
        event = await read_bytes(request, max_bytes=2**20), request.headers["Stripe-Signature"]
        self.events.append(event)
        return web.Response(status=await self.bring(event) if self.passing else 200)

    async def bring(self, event: tuple[bytes, str]) -> int:
        """Bring an event to checkout; return its answer's status."""
        assert self.http is not None
        async with self.http.post(
            f"{self.url}/api/checkout/webhook", data=io.BytesIO(event[0]), headers={"Stripe-Signature": event[1]}
        ) as answer:
            return answer.status

    async def wait_for(self, kind: str, times: int = 1) -> list[tuple[bytes, str]]:
        """Return the events of a kind once there are so many."""
        async with asyncio.timeout(20):
            while True:
                found = [event for event in self.events if f'"type": "{kind}"'.encode() in event[0]]
                if len(found) >= times:
                    return found
                await asyncio.sleep(0.01)


@dataclass
class OrderBook:
    """The order service, as far as checkout sees it: two internal calls with the moves that are legal."""

    orders: dict[str, JSON] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    is_down: bool = False
    refuses_moves: bool = False
    vanishes_after_look: bool = False

    def add(self, order_id: str, user: str = "ann", status: str = "pending") -> str:
        """Make an order."""
        self.orders[order_id] = {"order_id": order_id, "user_id": user, "status": status}
        return order_id

    def status_of(self, order_id: str) -> str:
        """Return an order's status."""
        return str(self.orders[order_id]["status"])

    def app(self) -> web.Application:
        """Return the service."""
        app = web.Application()
        app.router.add_get("/internal/orders/{order_id}", self._show)
        app.router.add_post("/internal/orders/{order_id}/status", self._move)
        return app

    def _find(self, request: web.Request) -> JSON:
        ServiceGuard(INTERNAL_SECRET, "planter-orders").require(request.headers["Authorization"].split()[1])
        if self.is_down:
            raise web.HTTPServiceUnavailable
        if request.match_info["order_id"] not in self.orders:
            raise web.HTTPNotFound
        return self.orders[request.match_info["order_id"]]

    async def _show(self, request: web.Request) -> web.Response:
        order = self._find(request)
        if self.vanishes_after_look:
            del self.orders[order["order_id"]]
        return web.json_response(order)

    async def _move(self, request: web.Request) -> web.Response:
        order, wanted = self._find(request), json.loads(await read_bytes(request, max_bytes=2**20))
        if self.refuses_moves:
            raise web.HTTPServiceUnavailable
        if wanted["event_id"] not in self.events and wanted["status"] != order["status"]:
            if wanted["status"] not in MOVES[order["status"]]:
                raise web.HTTPConflict
            order["status"] = wanted["status"]
            self.events.append(wanted["event_id"])
        return web.json_response(order)


class Shop:
    """What a test does: it stands where the browser, the payer, Stripe and the clock stand."""

    def __init__(self, folder: Path, database_url: str, **settings: Any) -> None:
        self.folder = folder
        self.ahead = timedelta()
        self.postman, self.book = Postman(), OrderBook()
        self._database_url = database_url
        self._settings = settings
        self.trouble: Trouble | None = (
            None  # answers in Stripe's place, and its idempotency keys remember nothing of it
        )
        self.remembered_trouble: Trouble | None = None  # the same, and they remember it
        self.asked: list[tuple[str, str, str]] = []  # method, path and idempotency key of each call of Stripe
        self._ports: dict[str, int] = {}
        self._lives: dict[str, AsyncExitStack] = {}
        self._apps: dict[str, web.Application] = {}
        self.urls: dict[str, str] = {}

    def now(self) -> datetime:
        """Return the time, which a test can move on."""
        return utc_now() + self.ahead

    def settings(self) -> CheckoutSettings:
        """Return checkout's settings."""
        base: JSON = {
            "data_dir": self.folder / "var",
            "database_url": self._database_url,
            "jwt_secret_key": JWT_SECRET,
            "internal_secret": INTERNAL_SECRET,
            "public_url": PUBLIC_URL,
            "temp_image_url": (self.urls["temp-image"],),
            "planter_orders_url": (self.urls["orders"],),
            "stripe_api_base": self.urls["stripe"],
            "stripe_webhook_secret": (WEBHOOK_SECRET, "whsec_second"),
        }
        return CheckoutSettings(_env_file=None, **(base | self._settings))

    def _build(self, name: str) -> web.Application:
        if name == "checkout":
            return build_app(self.settings(), self.now)
        if name == "temp-image":
            settings = TempImageSettings(
                _env_file=None, data_dir=self.folder / "var", jwt_secret_key=JWT_SECRET, internal_secret=INTERNAL_SECRET
            )
            return build_temp_image(settings, lambda: self.now().timestamp())
        if name == "stripe":
            sandbox = SandboxSettings(
                _env_file=None,
                data_dir=self.folder / "var",
                checkout_url=(self.urls["postman"],),
                stripe_webhook_secret=(WEBHOOK_SECRET,),
            )
            return create_app(
                sandbox, middlewares=[self._watch], interrupt=self._interrupt, now=lambda: self.now().timestamp()
            )
        if name == "postman":
            app = web.Application()
            app.router.add_post("/api/checkout/webhook", self.postman.take)
            return app
        return self.book.app()

    @web.middleware
    async def _watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """See what checkout asks Stripe, and that each answer is what the SDK's own types say."""
        if not request.path.startswith("/v1/"):
            return await handler(request)
        self.asked.append((request.method, request.path, request.headers.get("Idempotency-Key", "")))
        troubled = await self.trouble(request) if self.trouble else None
        response = troubled or await handler(request)
        if response.status == 200 and isinstance(response, web.Response):
            answer = json.loads(response.text or "")
            things = answer["data"] if answer["object"] == "list" else [answer]
            faults = [fault for thing in things for fault in faults_of(thing, KINDS[thing["object"]])]
            assert not faults, faults
        return response

    async def _interrupt(self, request: web.Request) -> web.Response | None:
        return await self.remembered_trouble(request) if self.remembered_trouble else None

    async def start(self, name: str) -> None:
        """Start a service, on the port that it had before."""
        sock = socket.create_server(("127.0.0.1", self._ports.get(name, 0)))
        sock.setblocking(False)
        self._ports[name] = sock.getsockname()[1]
        self.urls[name] = f"http://127.0.0.1:{self._ports[name]}"
        self._lives[name] = life = AsyncExitStack()
        self._apps[name] = self._build(name)
        await life.enter_async_context(serving(self._apps[name], sock))

    async def stop(self, name: str) -> None:
        """End a service in order."""
        await self._lives.pop(name).aclose()

    async def restart(self, name: str = "checkout") -> None:
        """End a service and start it again."""
        await self.stop(name)
        await self.start(name)

    async def close(self) -> None:
        """End all."""
        for name in ("stripe", *self._lives):
            if name in self._lives:
                await self.stop(name)

    @property
    def service(self) -> CheckoutService:
        """The use cases of the running checkout."""
        return self._apps["checkout"][SERVICE]

    @property
    def ledger(self) -> Any:
        """The sandbox's books."""
        return self._apps["stripe"][LEDGER]

    @property
    def objects(self) -> Any:
        """Where checkout keeps promoted images."""
        return self._apps["checkout"][OBJECTS]

    async def row(self, session_id: str) -> CheckoutSession:
        """Return checkout's own row of a session."""
        found: CheckoutSession | None = await self._sessions().find(session_id=session_id)
        assert found is not None
        return found

    async def has_state(self, session_id: str, state: str) -> bool:
        """Tell whether the row of a session is in a state."""
        return (await self.row(session_id)).state == state

    async def rows_of_events(self) -> list[Any]:
        """Return the stored events."""
        async with self._sessions()._database.read() as connection:
            return list(await connection.execute(sa.select(EVENTS)))

    async def disputes(self) -> list[Any]:
        """Return the disputes on record."""
        async with self._sessions()._database.read() as connection:
            return list(await connection.execute(sa.select(DISPUTES)))

    def _sessions(self) -> Any:
        return self.service.fulfilment.sessions

    def charges(self) -> list[JSON]:
        """Return the charges that took money."""
        return [charge for charge in self.ledger.store.select("charge") if charge["paid"]]

    def promoted(self) -> list[Path]:
        """Return the files of promoted images."""
        return [path for path in (self.folder / "var" / "objects").rglob("checkouts/*/*") if path.is_file()]

    @property
    def http(self) -> aiohttp.ClientSession:
        """The browser."""
        assert self.postman.http is not None
        return self.postman.http

    async def call(self, method: str, path: str, *, user: str | None = None, **options: Any) -> tuple[int, Any]:
        """Ask checkout; return the status and the JSON, or the bytes."""
        headers = {**options.pop("headers", {})}
        if user is not None:
            headers["Authorization"] = f"Bearer {user if '.' in user else token(user, admin=user == 'admin')}"
        async with self.http.request(method, self.urls["checkout"] + path, headers=headers, **options) as answer:
            return answer.status, await (answer.json() if "json" in answer.content_type else answer.read())

    async def upload(self, image: bytes | None = None) -> str:
        """Upload an image; return its id."""
        form = aiohttp.FormData()
        form.add_field("image", image or picture(), filename="a.png", content_type="image/png")
        async with self.http.post(f"{self.urls['temp-image']}/api/temp-image-upload", data=form) as answer:
            return str((await answer.json())["imageId"])

    async def retrieve(self, image_id: str) -> tuple[int, bytes]:
        """Fetch an image, once."""
        url = f"{self.urls['temp-image']}/api/temp-image-retrieve"
        async with self.http.get(url, params={"imageId": image_id}) as answer:
            return answer.status, await answer.read()

    async def is_held(self, image_id: str, session_id: str) -> bool:
        """Tell whether temp-image holds the image for the session."""
        session = self.ledger.require("checkout.session", session_id)
        holder = session["client_reference_id"]
        bearer = sign_service_token(INTERNAL_SECRET, caller="checkout", audience="temp-image")
        url = f"{self.urls['temp-image']}/internal/holds/{image_id}/{holder}/bytes"
        async with self.http.get(url, headers={"Authorization": f"Bearer {bearer}"}) as answer:
            return answer.status == 200

    async def open(self, body: JSON | None = None, **options: Any) -> tuple[int, JSON]:
        """Ask for a session."""
        return await self.call("POST", "/api/checkout/embedded-session", json=body or {}, **options)

    async def session(self, body: JSON | None = None, **options: Any) -> str:
        """Open a session; return its id."""
        status, answer = await self.open(body, **options)
        assert status == 200, answer
        return str(answer["session_id"])

    async def status(self, session_id: str, **options: Any) -> tuple[int, JSON]:
        """Ask how a session stands."""
        return await self.call("GET", "/api/checkout/session-status", params={"session_id": session_id}, **options)

    async def image(self, session_id: str) -> tuple[int, Any]:
        """Fetch the bought image."""
        return await self.call("GET", f"/api/checkout/sessions/{session_id}/image")

    async def press(self, session_id: str, action: str = "pay", **form: str) -> int:
        """Press a button of the sandbox's pay page."""
        url = f"{self.urls['stripe']}/pay/{session_id}"
        async with self.http.post(url, data={"action": action, **form}, allow_redirects=False) as answer:
            return answer.status

    async def settle(self, session_id: str, outcome: str) -> None:
        """End a delayed payment."""
        async with self.http.post(
            f"{self.urls['stripe']}/pay/{session_id}/settle", data={"outcome": outcome}
        ) as answer:
            assert answer.status == 200

    async def until(self, condition: Callable[[], Awaitable[Any] | Any], *, within_s: float = 20) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(within_s):
            while True:
                found = condition()
                if await found if asyncio.iscoroutine(found) else found:
                    return
                await asyncio.sleep(0.02)


@asynccontextmanager
async def open_shop(folder: Path, database_url: str = "", **options: Any) -> AsyncIterator[Shop]:
    """Start everything around checkout, and checkout."""
    shop = Shop(folder, database_url, **options)
    async with aiohttp.ClientSession() as http:
        shop.postman.http = http
        try:
            for name in ("temp-image", "orders", "postman", "stripe", "checkout"):
                await shop.start(name)
            shop.postman.url = shop.urls["checkout"]
            yield shop
        finally:
            await shop.close()
