from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
from yarl import URL

from shared.auth.access_tokens import sign_service_token

JWT_SECRET = "a secret of the tests that is long enough"
INTERNAL_SECRET = "another secret of the tests, long enough"

File = tuple[str, bytes, str | None]


def token(
    user: str = "ann", *, roles: Sequence[str] = (), secret: str = JWT_SECRET, life_s: float = 900, **more: str
) -> str:
    """Sign an access token of Keepsake's own issuer."""
    now = int(time.time())
    claims = {"sub": user, "username": user, "roles": list(roles), "iss": "keepsake", "aud": "keepsake", **more}
    return jwt.encode({**claims, "iat": now, "exp": now + life_s}, secret, "HS256")


def form_of(files: Sequence[File], fields: Mapping[str, str] | None = None, name: str = "files") -> aiohttp.FormData:
    """Build the multipart form of an upload."""
    form = aiohttp.FormData(quote_fields=False)
    for field, value in (fields or {}).items():
        form.add_field(field, value)
    for filename, data, content_type in files:
        form.add_field(
            name, io.BytesIO(data), filename=filename, content_type=content_type or "application/octet-stream"
        )
    return form


def written_down(order: Any) -> Any:
    """Return what of an order as the API shows it stands in its `order_metadata.json`: all but the links."""
    files = [{name: value for name, value in file.items() if name != "links"} for file in order["files"]]
    return {name: value for name, value in order.items() if name not in {"events", "photos_zip"}} | {"files": files}


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]
    raw: bytes = b""


class Api:
    """planter-orders at `url`, called by one user."""

    def __init__(self, http: aiohttp.ClientSession, url: str, bearer: str, internal_secret: str = "") -> None:
        self.http = http
        self.url = url
        self.bearer = bearer
        self._internal_secret = internal_secret or INTERNAL_SECRET

    def as_user(self, user: str, *roles: str) -> Api:
        return Api(self.http, self.url, token(user, roles=roles), self._internal_secret)

    async def call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, encoded: bool = False, **body: Any
    ) -> Answer:
        """Send a request, with a bearer token where the caller has one; an `encoded` path goes as it is."""
        sent = {**({"Authorization": f"Bearer {self.bearer}"} if self.bearer else {}), **(headers or {})}
        async with self.http.request(method, URL(self.url + path, encoded=encoded), headers=sent, **body) as answer:
            raw = await answer.read()
            is_json = "json" in answer.content_type and raw
            return Answer(answer.status, json.loads(raw) if is_json else raw, answer.headers, raw)

    async def upload(self, *files: File, fields: Mapping[str, str] | None = None, key: str | None = None) -> Answer:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.call("POST", "/api/images/upload", data=form_of(files, fields), headers=headers)

    async def order(self, order_id: str) -> Any:
        answer = await self.call("GET", f"/api/images/orders/{order_id}")
        assert answer.status == 200, answer
        return answer.body["order"]

    async def looked_at(self, order_id: str) -> Any:
        """Return the order once the quality of its photos is known."""
        async with asyncio.timeout(30):
            while True:
                order = await self.order(order_id)
                if all(file["quality"] is not None for file in order["files"]):
                    return order
                await asyncio.sleep(0.05)

    async def internal(self, method: str, path: str, *, as_service: str = "checkout", **body: Any) -> Answer:
        bearer = sign_service_token(self._internal_secret, caller=as_service, audience="planter-orders")
        return await Api(self.http, self.url, bearer).call(method, path, **body)
