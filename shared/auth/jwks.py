"""Opening a TokenVerifier: with the shared secret, or with the public keys that auth-verify publishes (JWKS, RFC 7517)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import jwt

from shared.auth.access_tokens import KeySource, SharedSecret, TokenVerifier
from shared.auth.revocations import open_revocations
from shared.auth.service_client import open_http_client
from shared.errors import DependencyDown, Unauthorized
from shared.settings import TokenSettings

KEYS_PATH = "/.well-known/jwks.json"
FRESH_S = 300.0
ASK_AGAIN_S = 5.0


class RemoteKeys:
    """The keys at `<auth service>/.well-known/jwks.json`, remembered; they go on counting while auth-verify is down.

    They are asked for again when they are 5 minutes old or a `kid` is unknown, but at most every 5 seconds.
    """

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str], algorithm: str) -> None:
        self._session = session
        self._urls = urls
        self._algorithm = algorithm
        self._keys: dict[str, Any] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def key_for(self, kid: str | None) -> Any:
        """Return the key; raise Unauthorized for an unknown `kid`, DependencyDown if no keys were ever fetched."""
        # Whoever needs a key waits for it; whoever knows one that is merely old does not wait for others to ask.
        if self._is_due(kid) and not (kid in self._keys and self._lock.locked()):
            async with self._lock:
                if self._is_due(kid):
                    await self._fetch()
        if kid in self._keys:
            return self._keys[kid]
        if self._fetched_at == float("-inf"):
            raise DependencyDown("auth-verify")
        raise Unauthorized(invalid=True)

    def _is_due(self, kid: str | None) -> bool:
        now = time.monotonic()
        return (kid not in self._keys or now - self._fetched_at > FRESH_S) and now - self._asked_at > ASK_AGAIN_S

    async def _fetch(self) -> None:
        try:
            await self._ask()
        finally:
            self._asked_at = time.monotonic()

    async def _ask(self) -> None:
        for url in self._urls:
            try:
                async with self._session.get(url.rstrip("/") + KEYS_PATH, allow_redirects=False) as response:
                    response.raise_for_status()
                    published = jwt.PyJWKSet.from_dict(await response.json())
            except (aiohttp.ClientError, OSError, ValueError, TypeError, AttributeError, jwt.PyJWTError):
                continue
            # Only keys for the configured algorithm: a key decides nothing about how it is used (RFC 8725 section 3.1).
            self._keys = {
                key.key_id: key.key for key in published.keys if key.key_id and key.algorithm_name == self._algorithm
            }
            self._fetched_at = time.monotonic()
            return


@asynccontextmanager
async def open_verifier(settings: TokenSettings, redis_url: str) -> AsyncIterator[TokenVerifier]:
    """Open what a service other than auth-verify needs to check users' tokens by itself."""
    async with AsyncExitStack() as stack:
        keys: KeySource
        if settings.jwt_algorithm == "HS256":
            keys = SharedSecret(settings.jwt_secret_key)
        else:
            session = await stack.enter_async_context(open_http_client())
            keys = RemoteKeys(session, settings.auth_service_url, settings.jwt_algorithm)
        revocations = await stack.enter_async_context(open_revocations(redis_url, settings.data_dir))
        yield TokenVerifier(settings, keys, revocations)
