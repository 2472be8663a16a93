from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from shared.auth.access_tokens import sign_service_token

PASSWORD = "correct horse battery staple"
INTERNAL_SECRET = "between-the-services-only-0123456789"
JWT_SECRET = "signs-what-the-users-carry-0123456789"


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any
    headers: CIMultiDictProxy[str]


class Api:
    """A client of auth-verify at one address."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self.url = url

    async def call(self, method: str, path: str, *, token: str | None = None, **options: Any) -> Reply:
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self._http.request(method, self.url + path, headers=headers, **options) as answer:
            body = await answer.json(content_type=None) if "json" in answer.content_type else await answer.read()
            return Reply(answer.status, body, answer.headers)

    async def get(self, path: str, token: str | None = None) -> Reply:
        return await self.call("GET", path, token=token)

    async def post(self, path: str, json: Any = None, token: str | None = None) -> Reply:
        return await self.call("POST", path, token=token, json=json)

    async def register(self, username: str, *, email: str = "", password: str = PASSWORD) -> Reply:
        body = {"username": username, "email": email or f"{username}@example.org", "password": password}
        return await self.post("/api/auth/register", body)

    async def login(self, username: str, password: str = PASSWORD) -> Reply:
        return await self.post("/api/auth/login", {"username": username, "password": password})

    async def refresh(self, refresh_token: str) -> Reply:
        return await self.post("/api/auth/refresh", {"refresh_token": refresh_token})

    async def signed_in(self, username: str = "") -> SignedIn:
        """Register somebody (by a new name where none is given) and sign in."""
        username = username or f"user-{secrets.token_hex(4)}"
        registered = await self.register(username)
        assert registered.status == 201, registered.body
        tokens = (await self.login(username)).body
        return SignedIn(registered.body["id"], username, tokens["access_token"], tokens["refresh_token"])

    async def found(self, owner: SignedIn, name: str = "Potters") -> str:
        """Found an organisation and return its id."""
        reply = await self.post("/api/v1/organizations", {"name": name}, owner.token)
        assert reply.status == 201, reply.body
        return str(reply.body["id"])


@dataclass(frozen=True)
class SignedIn:
    id: str
    username: str
    token: str
    refresh_token: str


def service_token(audience: str = "auth-verify", *, secret: str = INTERNAL_SECRET, **claims: Any) -> str:
    return sign_service_token(secret, caller="media-store", audience=audience, **claims)
