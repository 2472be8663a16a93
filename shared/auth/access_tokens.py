"""Who is calling: users' access tokens (JWT, RFC 7519 and RFC 8725) and the short ones that services sign for each other."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import jwt
from aiohttp import hdrs, web
from cachetools import LRUCache, TTLCache

from shared.auth.access import Access
from shared.auth.revocations import Revocations
from shared.auth.signed_links import check_link
from shared.errors import Forbidden, Unauthorized
from shared.settings import TokenSettings

LEEWAY_S = 30
MAX_TOKEN_BYTES = 8192
MAX_SUBJECT = 255
REMEMBERED_TOKENS = 4096
SERVICE_TOKEN_LIFE_S = 60
FORGET_AFTER_S = 300
ADMIN = "admin"
GATEWAY_HEADER = "X-Keepsake-Gateway"  # with a service token, from the gateway to services
# RFC 7515 section 2: base64url without padding. The library drops what is in no alphabet, so one token has many spellings.
COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and what UTF-8 cannot hold


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: `user_id` is the claim `sub`; `roles` count only from our own issuer; `sid` is the session, if any."""

    user_id: str
    username: str
    roles: tuple[str, ...]
    expires_at: float
    sid: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_admin(self) -> bool:
        return ADMIN in self.roles


class KeySource(Protocol):
    """Where the verifying keys are."""

    async def key_for(self, kid: str | None) -> Any:
        """Return the key for `kid`; raise `Unauthorized(invalid=True)` for none, DependencyDown if it cannot be asked."""


class SharedSecret:
    """The one HS256 key; a `kid` says nothing."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def key_for(self, kid: str | None) -> Any:  # noqa: ARG002
        return self._secret


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a claim occurs twice")
    return members


def _is_subject(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_SUBJECT
        and value not in {".", ".."}
        and NOT_IN_NAMES.search(value) is None
    )


class TokenVerifier:
    """Turns an access token into a Principal, remembering those it has verified by digest until they expire."""

    def __init__(self, settings: TokenSettings, keys: KeySource, revocations: Revocations) -> None:
        self._algorithm = settings.jwt_algorithm
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._keys = keys
        self._revocations = revocations
        self._remembered: TTLCache[bytes, Principal] = TTLCache(REMEMBERED_TOKENS, FORGET_AFTER_S)

    async def verify(self, token: str) -> Principal:
        """Return the caller, or raise `Unauthorized(invalid=True)`; revocation is asked each time."""
        principal = await self._principal(token)
        if await self.has_ended(principal):
            raise Unauthorized("The session of this access token has ended.", invalid=True)
        return principal

    async def has_ended(self, principal: Principal) -> bool:
        """Tell whether the caller's session has been ended since; False where the list is out of reach."""
        return principal.sid is not None and await self._revocations.is_revoked(principal.sid)

    async def _principal(self, token: str) -> Principal:
        if len(token) > MAX_TOKEN_BYTES or COMPACT.fullmatch(token) is None:
            raise Unauthorized(invalid=True)
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._remembered.get(digest)
        if known is not None and time.time() < known.expires_at + LEEWAY_S:
            return known
        principal = self._remembered[digest] = await self._decode(token)
        return principal

    async def _decode(self, token: str) -> Principal:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != self._algorithm or "crit" in header:
                raise jwt.InvalidAlgorithmError
            kid = header.get("kid")
            key = await self._keys.key_for(kid if isinstance(kid, str) else None)
            jwt.decode(
                token,
                key,
                algorithms=[self._algorithm],
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub"], "verify_aud": False, "verify_iss": False},
            )
            # Read again, because a claim that occurs twice means one thing to us and may mean another to the next reader.
            payload = jwt.utils.base64url_decode(token.split(".")[1])
            return self._accept(json.loads(payload, object_pairs_hook=_no_duplicates))
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError, KeyError) as error:
            raise Unauthorized(invalid=True) from error

    def _accept(self, claims: dict[str, Any]) -> Principal:
        subject = claims["sub"]
        strict = self._algorithm != "HS256"
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        issuer_fits = claims.get("iss") == self._issuer or ("iss" not in claims and not strict)
        audience_fits = self._audience in audiences or ("aud" not in claims and not strict)
        username = claims.get("username", subject) or subject
        sid = claims.get("sid")
        roles = claims.get("roles", [])
        if not (
            _is_subject(subject)
            and type(claims["exp"]) in {int, float}  # a NumericDate is a number; the library takes a text for one too
            and issuer_fits
            and audience_fits
            and isinstance(username, str)
            and NOT_IN_NAMES.search(username) is None
            and isinstance(sid, str | None)
            and isinstance(roles, list)
        ):
            raise Unauthorized(invalid=True)
        own = claims.get("iss") == self._issuer
        return Principal(
            user_id=subject,
            username=username,
            roles=tuple(role for role in roles if isinstance(role, str)) if own else (),
            expires_at=float(claims["exp"]),
            sid=sid,
            claims=claims,
        )


def sign_service_token(secret: str, *, caller: str, audience: str, **claims: Any) -> str:
    """Sign a token with which service `caller` calls service `audience`, valid 60 s."""
    now = int(time.time())
    return jwt.encode(
        {**claims, "iss": caller, "aud": audience, "iat": now, "exp": now + SERVICE_TOKEN_LIFE_S}, secret, "HS256"
    )


class ServiceGuard:
    """Checks the tokens other services sign: `aud` is this service, `exp` at most 60 s after `iat`.

    Callers use a token for as long as it lives, so one that was good is remembered until it expires.
    """

    def __init__(self, secret: str, service: str) -> None:
        self._secret = secret
        self._service = service
        self._good: LRUCache[str, dict[str, Any]] = LRUCache(REMEMBERED_TOKENS)

    def claims(self, token: str) -> dict[str, Any]:
        """Return the claims, or raise `Unauthorized(invalid=True)`."""
        known = self._good.get(token)
        if known is not None and time.time() < known["exp"] + LEEWAY_S:
            return known
        claims = self._good[token] = self._verified(token)
        return claims

    def _verified(self, token: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                audience=self._service,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud"]},
            )
            if claims["exp"] - claims["iat"] > SERVICE_TOKEN_LIFE_S:
                raise Unauthorized(invalid=True)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise Unauthorized(invalid=True) from error
        return claims

    def require(self, token: str) -> str:
        return str(self.claims(token)["iss"])


VERIFIER: Final = web.AppKey("VERIFIER", TokenVerifier)
SERVICE_GUARD: Final = web.AppKey("SERVICE_GUARD", ServiceGuard)
PRINCIPAL: Final = web.RequestKey("PRINCIPAL", Principal)
CALLING_SERVICE: Final = web.RequestKey("CALLING_SERVICE", str)


def bearer_token(request: web.BaseRequest) -> str:
    """Return the token of `Authorization: Bearer …` (RFC 6750), or raise Unauthorized."""
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not given:
        raise Unauthorized
    scheme, _, token = given[0].partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized
    token = token.strip()
    if len(given) > 1 or not token:
        raise Unauthorized(invalid=True)
    return token


async def identify(request: web.Request) -> Principal:
    """Verify the request's token once and return its caller."""
    known: Principal | None = request.get(PRINCIPAL)
    if known is None:
        known = request[PRINCIPAL] = await request.app[VERIFIER].verify(bearer_token(request))
    return known


async def identify_if_any(request: web.Request) -> Principal | None:
    """Return the caller, or None where no token was sent; a bad token is still refused."""
    return await identify(request) if hdrs.AUTHORIZATION in request.headers else None


def vouched_address(request: web.Request) -> str | None:
    """Return the client's address, for which the gateway vouches; None where it does not.

    Raises Unauthorized where somebody pretends to be another service.
    """
    token = request.headers.get(GATEWAY_HEADER)
    if token is None or SERVICE_GUARD not in request.app:
        return None
    claims = request.app[SERVICE_GUARD].claims(token)
    address = claims.get("addr") if claims["iss"] == "gateway" else None
    return address if isinstance(address, str) else None


def principal_of(request: web.Request) -> Principal:
    """Return the caller of a path whose table row asks for a token."""
    return request[PRINCIPAL]


async def require_access(request: web.Request, access: Access, *, by_link: bool = False) -> None:
    """Let the request through if its caller may call a row with this `access`; else raise Unauthorized or Forbidden.

    With `by_link` a signed link is as good as a token.
    """
    if by_link and check_link(request):
        return
    if access is Access.SERVICE:
        request[CALLING_SERVICE] = request.app[SERVICE_GUARD].require(bearer_token(request))
    elif access is not Access.PUBLIC:
        principal = await identify(request)
        if access is Access.ADMIN and not principal.is_admin:
            raise Forbidden("This needs the role admin.")
