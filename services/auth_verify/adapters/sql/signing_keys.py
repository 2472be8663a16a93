"""Signing keys in SQL, the private ones sealed (AES-256-GCM) with a key of INTERNAL_SECRET."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.exc import IntegrityError

from services.auth_verify.adapters.sql.tables import SIGNING_KEYS
from services.auth_verify.model import SigningKey
from shared.auth.key_derivation import derive_key
from shared.errors import Conflict
from shared.persistence.engine import Database, Repository

NONCE_BYTES = 12  # NIST SP 800-38D section 8.2


class SealBroken(Exception):
    """The keys were sealed with another INTERNAL_SECRET."""


class SqlSigningKeys(Repository):
    """Keeps the keys, numbered per algorithm."""

    def __init__(self, database: Database, internal_secret: str) -> None:
        super().__init__(database)
        self._seal = AESGCM(derive_key(internal_secret, "signing keys"))

    async def load(self, algorithm: str) -> Sequence[SigningKey]:
        """Read and unseal them; raises SealBroken where INTERNAL_SECRET was changed."""
        query = sa.select(SIGNING_KEYS).where(SIGNING_KEYS.c.algorithm == algorithm).order_by(SIGNING_KEYS.c.number)
        return [self._key(row) for row in await self._database.rows(query)]

    async def add_first(self, current: SigningKey, following: SigningKey) -> None:
        """Insert numbers 1 and 2; the primary key lets one of several processes do it."""
        with suppress(IntegrityError):
            await self._database.execute(sa.insert(SIGNING_KEYS), [self._row(1, current), self._row(2, following)])

    async def rotate(self, following: SigningKey, *, now: datetime, retired_before: datetime) -> None:
        """Retire the current key, activate the next, keep `following` as the new next, drop what retired long ago.

        Raises Conflict where another process rotates at the same moment.
        """
        keys = SIGNING_KEYS.c
        ours = keys.algorithm == following.algorithm
        try:
            async with self._database.begin() as connection:
                last = await connection.scalar(sa.select(sa.func.max(keys.number)).where(ours))
                await connection.execute(sa.insert(SIGNING_KEYS), self._row((last or 0) + 1, following))
                await connection.execute(
                    sa.update(SIGNING_KEYS)
                    .where(ours, keys.activated_at.is_not(None), keys.retired_at.is_(None))
                    .values(retired_at=now)
                )
                await connection.execute(
                    sa.update(SIGNING_KEYS).where(ours, keys.number == last).values(activated_at=now)
                )
                await connection.execute(sa.delete(SIGNING_KEYS).where(ours, keys.retired_at < retired_before))
        except IntegrityError as error:
            raise Conflict("The keys are being rotated already.", "rotation_in_progress") from error

    def _row(self, number: int, key: SigningKey) -> dict[str, Any]:
        nonce = os.urandom(NONCE_BYTES)
        return {
            "algorithm": key.algorithm,
            "number": number,
            "kid": key.kid,
            "sealed_private": nonce + self._seal.encrypt(nonce, key.private_pem, key.kid.encode()),
            "public_jwk": dict(key.public_jwk),
            "activated_at": key.activated_at,
            "retired_at": key.retired_at,
        }

    def _key(self, row: sa.Row[Any]) -> SigningKey:
        nonce, sealed = row.sealed_private[:NONCE_BYTES], row.sealed_private[NONCE_BYTES:]
        try:
            private_pem = self._seal.decrypt(nonce, sealed, row.kid.encode())
        except InvalidTag:
            raise SealBroken("INTERNAL_SECRET is not the one that the signing keys were sealed with.") from None
        return SigningKey(row.kid, row.algorithm, private_pem, row.public_jwk, row.activated_at, row.retired_at)
