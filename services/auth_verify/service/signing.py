"""What users' access tokens are signed with: the shared secret, or key pairs that take turns."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from services.auth_verify.adapters.sql.signing_keys import SqlSigningKeys
from services.auth_verify.model import SigningKey
from shared.clock import utc_now
from shared.errors import DependencyDown, Unauthorized

RELOAD = timedelta(seconds=5)
PUBLISHED_AFTER_RETIREMENT = timedelta(minutes=17)  # the last token's 15, its leeway, and RELOAD
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class TokenSigner(Protocol):
    """Signs claims as a JWT, and publishes what it can be verified with."""

    async def sign(self, claims: Mapping[str, Any]) -> str:
        """Return the signed token."""

    async def public_keys(self) -> list[dict[str, Any]]:
        """Return the public keys as JWKs (RFC 7517); none where the key is a shared secret."""


class SecretSigner:
    """HS256 with JWT_SECRET_KEY."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def sign(self, claims: Mapping[str, Any]) -> str:
        return jwt.encode(dict(claims), self._secret, "HS256")

    async def public_keys(self) -> list[dict[str, Any]]:
        """Return none: the secret is not published."""
        return []


def _generate(algorithm: str) -> tuple[PrivateKey, dict[str, Any]]:
    if algorithm == "EdDSA":
        edwards = ed25519.Ed25519PrivateKey.generate()
        return edwards, OKPAlgorithm.to_jwk(edwards.public_key(), as_dict=True)
    if algorithm == "ES256":
        elliptic = ec.generate_private_key(ec.SECP256R1())
        return elliptic, ECAlgorithm.to_jwk(elliptic.public_key(), as_dict=True)
    prime = rsa.generate_private_key(65537, 2048)
    return prime, RSAAlgorithm.to_jwk(prime.public_key(), as_dict=True)


def create_signing_key(algorithm: str) -> SigningKey:
    """Make a key pair, not yet activated; RSA takes a good part of a second."""
    private, public = _generate(algorithm)
    kid = secrets.token_urlsafe(12)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    jwk = {"kty": public.pop("kty"), "kid": kid, "alg": algorithm, "use": "sig", **public}
    jwk.pop("key_ops", None)  # RFC 7517 section 4.3: not together with `use`
    return SigningKey(kid, algorithm, pem, jwk)


class KeyRing:
    """Signs with the current key pair and knows every published one.

    The keys are read again every 5 s, so that a rotation is noticed without a restart; while the database is out of
    reach the ones known go on counting.
    """

    def __init__(self, keys: SqlSigningKeys, algorithm: str, *, now: Callable[[], datetime] = utc_now) -> None:
        self._keys = keys
        self._algorithm = algorithm
        self._now = now
        self._loaded: dict[str, SigningKey] = {}
        self._verifying: dict[str, Any] = {}
        self._private: dict[str, Any] = {}
        self._asked_at = datetime.min.replace(tzinfo=UTC)
        self._lock = asyncio.Lock()

    async def prepare(self) -> None:
        """Make the first keys where there are none; of several processes that start at once one does."""
        if not await self._keys.load(self._algorithm):
            current, following = await self._create(), await self._create()
            await self._keys.add_first(replace(current, activated_at=self._now()), following)
        await self._load()

    async def rotate(self) -> None:
        """Make the next key the current one, and a new next; the old one stays published until its tokens have expired."""
        now = self._now()
        await self._keys.rotate(await self._create(), now=now, retired_before=now - PUBLISHED_AFTER_RETIREMENT)

    async def sign(self, claims: Mapping[str, Any]) -> str:
        await self._refresh()
        kid, private = next((kid, self._private[kid]) for kid, key in self._loaded.items() if key.is_current)
        return jwt.encode(dict(claims), private, self._algorithm, {"kid": kid})

    async def key_for(self, kid: str | None) -> Any:
        """Return the public key; raises Unauthorized for one that is not published."""
        await self._refresh()
        if kid not in self._verifying or not self._is_published(self._loaded[kid]):
            raise Unauthorized(invalid=True)
        return self._verifying[kid]

    async def public_keys(self) -> list[dict[str, Any]]:
        """Return the current and the next, and the retired while their tokens live."""
        await self._refresh()
        return [dict(key.public_jwk) for key in self._loaded.values() if self._is_published(key)]

    def _is_published(self, key: SigningKey) -> bool:
        return key.retired_at is None or self._now() < key.retired_at + PUBLISHED_AFTER_RETIREMENT

    async def _create(self) -> SigningKey:
        return await asyncio.to_thread(create_signing_key, self._algorithm)

    async def _refresh(self) -> None:
        if self._is_fresh():
            return
        async with self._lock:
            if self._is_fresh():
                return
            self._asked_at = self._now()
            try:
                await self._load()
            except DependencyDown:
                if not self._loaded:
                    raise

    def _is_fresh(self) -> bool:
        return abs(self._now() - self._asked_at) < RELOAD  # a clock that was set back does not make them fresh

    async def _load(self) -> None:
        self._loaded = {key.kid: key for key in await self._keys.load(self._algorithm)}
        for kid, key in self._loaded.items():
            if kid not in self._private:
                self._private[kid] = serialization.load_pem_private_key(key.private_pem, None)
                self._verifying[kid] = self._private[kid].public_key()
        for kid in self._private.keys() - self._loaded.keys():
            del self._private[kid], self._verifying[kid]
