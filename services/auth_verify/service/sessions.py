"""Sessions: an access token for a quarter of an hour, and a refresh token that is another one after each use."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from services.auth_verify.adapters.sql.sessions import SqlSessions
from services.auth_verify.adapters.sql.users import SqlUsers
from services.auth_verify.model import RefreshToken, Use, User, wrong_credentials
from services.auth_verify.service.signing import TokenSigner
from shared.auth.access_tokens import TokenVerifier
from shared.auth.key_derivation import derive_key
from shared.auth.revocations import Revocations
from shared.clock import utc_now
from shared.errors import Unauthorized
from shared.settings import TokenSettings

ACCESS_TOKEN_LIFE_S = 15 * 60
REFRESH_TOKEN_LIFE = timedelta(days=30)
REFRESH_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a login and each refresh give."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in_s: int = ACCESS_TOKEN_LIFE_S


async def introspect(verifier: TokenVerifier, token: str) -> dict[str, Any]:
    """Return the claims of an active token; of any other one nothing but that it is not active (RFC 7662 section 2.2)."""
    try:
        principal = await verifier.verify(token)
    except Unauthorized:
        return {"active": False}
    return {**principal.claims, "active": True, "token_type": "Bearer"}


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _refused() -> Unauthorized:
    return Unauthorized(
        "The refresh token is not valid. Please sign in again.", invalid=True, code="invalid_refresh_token"
    )


class SessionService:
    """Opens, continues and ends sessions."""

    def __init__(
        self,
        settings: TokenSettings,
        sessions: SqlSessions,
        users: SqlUsers,
        signer: TokenSigner,
        revocations: Revocations,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._successor_key = derive_key(settings.internal_secret, "refresh token successors")
        self._sessions = sessions
        self._users = users
        self._signer = signer
        self._revocations = revocations
        self._now = now

    async def open(self, user: User) -> TokenPair:
        """Begin a session of `user`; raises Unauthorized where it was disabled meanwhile."""
        now, sid, token = self._now(), str(uuid4()), secrets.token_urlsafe(REFRESH_TOKEN_BYTES)
        first = RefreshToken(_digest(token), sid, user.id, now + REFRESH_TOKEN_LIFE)
        if not await self._sessions.open(first, now=now):
            raise wrong_credentials()
        # Read again: a role taken away before the session was there is not in its token, and one taken later ends it.
        current = await self._users.get(user.id)
        if current is None:
            raise wrong_credentials()
        return TokenPair(await self._access_token(current, sid), token)

    async def refresh(self, token: str) -> TokenPair:
        """Go on with a session; raises Unauthorized, and ends the session where the token was used before."""
        now, successor = self._now(), self._successor(token)
        rotation = await self._sessions.rotate(
            _digest(token), _digest(successor), now=now, expires_at=now + REFRESH_TOKEN_LIFE
        )
        if rotation is None:
            raise _refused()
        use, known = rotation
        if use is Use.REUSED:
            await self._end(known.sid)
        user = await self._users.get(known.user_id) if use in {Use.FIRST, Use.REPLAYED} else None
        if user is None or user.disabled:
            raise _refused()
        return TokenPair(await self._access_token(user, known.sid), successor)

    async def end(self, token: str) -> None:
        """End the session of this refresh token, used or not; an unknown one ends nothing."""
        known = await self._sessions.find(_digest(token))
        if known is not None:
            await self._end_whole(known.sid)

    async def end_all(self, user_id: str) -> None:
        """End all sessions of a user, their access tokens too; where it fails, asking again ends the rest."""
        for sid in await self._sessions.of_user(user_id):
            await self._end_whole(sid)

    async def _end_whole(self, sid: str) -> None:
        # In this order a failure leaves the session, so that asking again ends all of it.
        await self._revocations.revoke(sid)
        await self._sessions.end(sid)

    async def _end(self, sid: str) -> None:
        """End a session of which a token was stolen: the refresh tokens even where the access token cannot be revoked."""
        try:
            await self._revocations.revoke(sid)
        finally:
            await self._sessions.end(sid)

    def _successor(self, token: str) -> str:
        """Return the token's one successor: it can be given again without being kept, and nobody else can compute it."""
        code = hmac.digest(self._successor_key, token.encode(), "sha256")
        return base64.urlsafe_b64encode(code).rstrip(b"=").decode()

    async def _access_token(self, user: User, sid: str) -> str:
        issued_at = int(self._now().timestamp())
        return await self._signer.sign(
            {
                "sub": user.id,
                "username": user.username,
                "roles": list(user.roles),
                "iss": self._issuer,
                "aud": self._audience,
                "iat": issued_at,
                "exp": issued_at + ACCESS_TOKEN_LIFE_S,
                "jti": str(uuid4()),
                "sid": sid,
            }
        )
