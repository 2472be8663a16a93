"""A person is erased in all services, whoever is killed meanwhile: seen from outside, and in every table."""

from __future__ import annotations

import asyncio
import io
import secrets
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from tests.support import pictures
from tests.support.stack import Stack

PASSWORD = "correct horse battery staple"
PATIENCE_S = 60
# What is left to do stands here, for half an hour and for a minute: a write that was under way is looked for once more.
SHORT_LIVED = {"auth_erasures", "planter_orphans"}


@dataclass
class Shopper:
    """Somebody with an account, an image, and an order that is paid and one that is not."""

    stack: Stack
    http: aiohttp.ClientSession
    name: str
    id: str = ""
    bearer: str = ""
    session_id: str = ""
    unpaid: str = ""
    paid: str = ""

    async def call(self, method: str, path: str, token: str | None = None, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.bearer if token is None else token}"}
        url = self.stack.url("gateway") + path
        async with self.http.request(method, url, headers=headers, **options) as answer:
            is_json = "json" in answer.content_type
            return answer.status, await answer.json(content_type=None) if is_json else await answer.read()

    async def must(self, method: str, path: str, **options: Any) -> Any:
        status, body = await self.call(method, path, **options)
        assert status < 300, body
        return body

    async def live(self) -> None:
        """Leave traces everywhere."""
        account = {"username": self.name, "email": f"{self.name}@example.org", "password": PASSWORD}
        self.id = (await self.must("POST", "/api/auth/register", json=account))["id"]
        self.bearer = (await self.must("POST", "/api/auth/login", json=account))["access_token"]
        image = self.form("image", username=self.name, image_type="profile", caption=f"I am {self.name}")
        await self.must("POST", "/api/upload_user_image/", data=image)
        self.unpaid, self.paid = [await self.order() for _ in range(2)]
        opened = await self.must("POST", "/api/checkout/embedded-session", json={"order_id": self.paid})
        self.session_id = opened["session_id"]
        pay = f"{self.stack.url('stripe-sandbox')}/pay/{self.session_id}"
        async with self.http.post(pay, data={"action": "pay"}, allow_redirects=False) as answer:
            assert answer.status == 303
        async with asyncio.timeout(PATIENCE_S):
            while (await self.must("GET", f"/api/images/orders/{self.paid}"))["order"]["status"] != "paid":  # noqa: ASYNC110 - from outside
                await asyncio.sleep(0.05)

    async def order(self) -> str:
        form = self.form("files", pet_name=f"{self.name}'s Rex", notes=f"For {self.name}")
        return str((await self.must("POST", "/api/images/upload", data=form))["order_id"])

    def form(self, field: str, **fields: str) -> aiohttp.FormData:
        form = aiohttp.FormData()
        for name, value in fields.items():
            form.add_field(name, value)
        form.add_field(
            field, io.BytesIO(pictures.jpeg(900, 900)), filename=f"{self.name}.jpg", content_type="image/jpeg"
        )
        return form

    async def leave(self) -> int:
        return (await self.call("DELETE", "/api/auth/me", json={"password": PASSWORD}))[0]

    @property
    def admin(self) -> str:
        claims = {"sub": "root", "roles": ["admin"], "iss": "keepsake", "aud": "keepsake", "exp": 4_000_000_000}
        return jwt.encode(claims, self.stack.settings["JWT_SECRET_KEY"], "HS256")

    def traces(self) -> list[str]:
        """Name the tables and files in which the person stands."""
        data, found = Path(self.stack.settings["DATA_DIR"]), []
        for path in data.glob("*.db"):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                for table in set(tables) - SHORT_LIVED:
                    rows = repr(database.execute(f'SELECT * FROM "{table}"').fetchall())  # noqa: S608 - our own names
                    if self.id in rows or self.name.lower() in rows.lower():
                        found.append(table)
        folders = (str(path.relative_to(data)) for path in data.glob("objects/**/*"))
        return [*found, *(path for path in folders if self.id in path or self.name in path)]

    def make_due(self) -> None:
        """As if the lease of a killed process were over, or the pause after a service did not answer."""
        with closing(sqlite3.connect(Path(self.stack.settings["DATA_DIR"]) / "auth-verify.db")) as database, database:
            database.execute("UPDATE auth_erasures SET due_at = requested_at WHERE user_id = ?", [self.id])

    async def is_gone(self) -> None:
        """Wait until nothing is left but what the books need."""
        async with asyncio.timeout(PATIENCE_S):
            while self.traces():  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.1)
        assert (await self.call("GET", "/api/auth/me"))[0] == 401
        login = {"username": self.name, "password": PASSWORD}
        assert (await self.call("POST", "/api/auth/login", token="", json=login))[0] == 401
        assert (await self.call("GET", f"/api/images/orders/{self.unpaid}", token=self.admin))[0] == 404
        status, body = await self.call("GET", f"/api/images/orders/{self.paid}", token=self.admin)
        assert (status, body["order"]["status"], body["order"]["user_id"]) == (200, "paid", "")
        photo = f"/api/images/orders/{self.paid}/files/{body['order']['files'][0]['filename']}"
        assert (await self.call("GET", photo, token=self.admin))[0] == 200
        session = f"/api/checkout/session-status?session_id={self.session_id}"
        async with self.http.get(self.stack.url("gateway") + session) as answer:
            assert answer.status == 404


@pytest.fixture
async def become_shopper(shop: Stack) -> AsyncIterator[Callable[[], Awaitable[Shopper]]]:
    async with aiohttp.ClientSession() as http:

        async def become() -> Shopper:
            shopper = Shopper(shop, http, f"Samantha-{secrets.token_hex(4)}")
            await shopper.live()
            return shopper

        yield become


@pytest.fixture
async def sam(become_shopper: Callable[[], Awaitable[Shopper]]) -> Shopper:
    return await become_shopper()


async def test_somebody_who_leaves_is_erased_everywhere(sam: Shopper) -> None:
    assert len(sam.traces()) > 5
    assert await sam.leave() == 204
    assert sam.traces() == []
    await sam.is_gone()


@pytest.mark.parametrize("after_s", [0.0, 0.08, 0.16, 0.3])
async def test_a_kill_while_it_goes_on_only_postpones_it(sam: Shopper, shop: Stack, after_s: float) -> None:
    leaving = asyncio.create_task(sam.leave())
    await asyncio.sleep(after_s)
    shop.kill("auth-verify")
    await asyncio.gather(leaving, return_exceptions=True)
    sam.make_due()
    await asyncio.to_thread(shop.start, "auth-verify")
    status, _ = await sam.call("GET", "/api/auth/me")
    if status == 200:  # it died before anything was written down, and nobody was told that it was
        assert await sam.leave() == 204
    await sam.is_gone()


async def test_a_service_that_is_dead_is_told_when_it_lives(
    become_shopper: Callable[[], Awaitable[Shopper]], shop: Stack
) -> None:
    left = []
    for service in ("media-store", "planter-orders", "checkout"):
        sam = await become_shopper()
        shop.kill(service)
        assert await sam.leave() == 204
        assert (await sam.call("GET", "/api/auth/me"))[0] == 401
        assert sam.traces() != []
        await asyncio.to_thread(shop.start, service)
        left.append(sam)
    for sam in left:
        sam.make_due()
    for sam in left:  # at the end, since one look at what is due is enough for all
        await sam.is_gone()
