"""The checks before a request goes anywhere, and what a service is told of the client's address.

There is one reading of a request's target: what could mean two things to two readers is refused, never normalised.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web

from gateway.rate_limits import Limits
from gateway.route_table import PublicRoute
from shared.app.routes import Handler
from shared.auth.access import Access
from shared.auth.access_tokens import ServiceGuard, require_access, sign_service_token
from shared.errors import BadRequest, TooLarge, Unauthorized
from shared.http.body import BODY, size_text
from shared.http.clients import PEER, Address, client_address, is_in, network_of
from shared.settings import Networks

SIGNED_FOR_S = 20.0  # of the 60 s that a service token lives
REMEMBERED_SIGNATURES = 4096
DOCTOR_HEADER = "X-Keepsake-Doctor"
# Bytes that a path may not hold: control characters, `\`, `;`, `#`, and bytes that are not UTF-8 (a lone surrogate here).
REFUSED_CHARACTERS = r"[\x00-\x20\x7f-\x9f\\;#\ud800-\udfff]"
# Escapes of a slash, backslash, dot, percent, semicolon or control character, and a percent that begins no escape.
REFUSED_ESCAPES = r"%(?:2[fFeE5]|5[cC]|3[bB]|[01][0-9A-Fa-f]|7[fF]|(?![0-9A-Fa-f]{2}))"
AMBIGUOUS: Final = re.compile(rf"{REFUSED_CHARACTERS}|{REFUSED_ESCAPES}|//|\.\.|/\.(?:/|\Z)")
LIMITS: Final = web.AppKey("LIMITS", Limits)


class Clients:
    """The addresses of clients, and the signed word about them that services trust."""

    def __init__(self, trusted_proxies: Networks, internal_secret: str) -> None:
        self.trusted_proxies = trusted_proxies
        self._secret = internal_secret
        self._guard = ServiceGuard(internal_secret, "gateway")
        self._signed = lru_cache(REMEMBERED_SIGNATURES)(self._sign)

    def scheme_of(self, request: web.Request) -> str:
        """Return `http`, or what a trusted proxy before us says the client used."""
        said = request.headers.get(hdrs.X_FORWARDED_PROTO, "")
        trusted = said in {"http", "https"} and is_in(request[PEER], self.trusted_proxies)
        return said if trusted else "http"

    def seen_by_doctor(self, request: web.Request) -> dict[str, str]:
        """Tell `python -m stack doctor`, which signs its request, who it seems to be; all others nothing."""
        try:
            asks = self._guard.require(request.headers.get(DOCTOR_HEADER, "")) == "doctor"
        except Unauthorized:
            return {}
        seen = {
            "peer": request[PEER],
            "address": client_address(request, self.trusted_proxies),
            "scheme": self.scheme_of(request),
        }
        return {name: str(value) for name, value in seen.items()} if asks else {}

    def token(self, service: str, address: str) -> str:
        """Return a service token that tells `service` the client's address."""
        return self._signed(service, address, time.monotonic() // SIGNED_FOR_S)

    def _sign(self, service: str, address: str, _turn: float) -> str:
        return sign_service_token(self._secret, caller="gateway", audience=service, addr=address)


CLIENTS: Final = web.AppKey("CLIENTS", Clients)


def too_large(route: PublicRoute) -> TooLarge:
    """Return the refusal that names the route's limit: the file's where files are what it takes."""
    if route.file_bytes:
        return TooLarge(f"The upload is too large: at most {size_text(route.file_bytes)} for each file.")
    return TooLarge(f"The request body is too large: at most {size_text(route.max_bytes)}.")


async def admit(request: web.Request, route: PublicRoute) -> Address:
    """Let a request through by its route, before any of its body is read; return the client's address.

    Raises TooManyRequests, Unauthorized, Forbidden or TooLarge.
    """
    address = client_address(request, request.app[CLIENTS].trusted_proxies)
    await request.app[LIMITS].count(route.limit, network_of(address))
    if route.access is not Access.PUBLIC or route.by_link:
        await require_access(request, route.access, by_link=route.by_link)
    if (request[BODY].length or 0) > route.max_bytes:
        raise too_large(route)
    return address


def is_unambiguous(target: str) -> bool:
    """Tell whether a request's target is a path, with or without a query, that has only one reading."""
    path, _, query = target.partition("?")
    if not path.startswith("/") or AMBIGUOUS.search(path) is not None or "#" in query:
        return False
    if "%" not in target and target.isascii():
        return True
    try:  # the bytes that the escapes stand for must be UTF-8: of others every reader makes something else
        unquote_to_bytes(target.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        return False
    return True


@web.middleware
async def check_path(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse an ambiguous target before anything is decided by it."""
    if not is_unambiguous(request.raw_path):
        raise BadRequest("This path is not allowed.", "path_not_allowed")
    return await handler(request)
