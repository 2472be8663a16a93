"""Calling other services: one HTTP session per process, bounded waits, and a service token on each internal call."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from shared.auth.access_tokens import sign_service_token
from shared.errors import DependencyDown
from shared.log import current_request_id
from shared.tracing import span, trace_headers

TOTAL_S = 2.5  # whoever waits for a dependency is answered within 3 s
TIMEOUT = aiohttp.ClientTimeout(total=TOTAL_S, sock_connect=1.0)


@asynccontextmanager
async def open_http_client() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session that keeps no cookies and trusts no proxy settings."""
    async with aiohttp.ClientSession(
        timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=256)
    ) as session:
        yield session


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """What another service answered: its status, and its body: JSON, other types as bytes, None where there is none."""

    status: int
    body: Any
    content_type: str = ""


class _Stopping(Exception):
    """The process at this address is stopping and did nothing with the request."""


class ServiceClient:
    """Calls one service at any of its addresses, in turn; one that takes no connection or is stopping is passed over.

    `name` is the service's, as in `temp-image`: the audience of the token, and the name in the error.
    """

    def __init__(
        self, session: aiohttp.ClientSession, urls: Sequence[str], *, name: str, caller: str, secret: str
    ) -> None:
        self._session = session
        self._urls = [url.rstrip("/") for url in urls]
        self._turns = itertools.count()
        self._name = name
        self._caller = caller
        self._secret = secret

    async def call(self, method: str, path: str, *, json: Any = None) -> ServiceAnswer:
        """Send one request with a service token, and return the answer unless it is a 5xx.

        Raises DependencyDown where no address answers in time, or the answer is a 5xx or says it is JSON and is not.
        """
        with span(self._name, method):
            return await self._call(method, path, json)

    async def _call(self, method: str, path: str, json: Any) -> ServiceAnswer:
        first = next(self._turns)
        failure: Exception | None = None
        try:
            async with asyncio.timeout(TOTAL_S):
                for turn in range(len(self._urls)):
                    url = self._urls[(first + turn) % len(self._urls)]
                    try:
                        return await self._send(method, url + path, json)
                    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, _Stopping) as error:
                        failure = error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise DependencyDown(self._name) from error
        raise DependencyDown(self._name) from failure

    async def _send(self, method: str, url: str, json: Any) -> ServiceAnswer:
        token = sign_service_token(self._secret, caller=self._caller, audience=self._name)
        headers = {"Authorization": f"Bearer {token}", **trace_headers()}
        if request_id := current_request_id.get():
            headers["X-Request-Id"] = request_id
        async with self._session.request(method, url, json=json, headers=headers, allow_redirects=False) as response:
            is_json = "json" in response.content_type
            body = await response.json(content_type=None) if is_json else await response.read() or None
            if response.status == 503 and isinstance(body, dict) and body.get("code") == "service_stopping":
                raise _Stopping
            if response.status >= 500:
                raise DependencyDown(self._name)
            return ServiceAnswer(response.status, body, response.content_type)
