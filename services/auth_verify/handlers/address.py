"""Whose attempt it is."""

from __future__ import annotations

from aiohttp import web

from shared.auth.access_tokens import SERVICE_GUARD
from shared.http.clients import PEER, network_of, parse_address

GATEWAY_HEADER = "X-Keepsake-Gateway"


def address_of(request: web.Request) -> str:
    """Return what failures are counted by: the address that the gateway vouches for, else the peer's; IPv6 by its /64.

    Raises Unauthorized where somebody else pretends to be the gateway.
    """
    token = request.headers.get(GATEWAY_HEADER)
    claims = request.app[SERVICE_GUARD].claims(token) if token is not None else {}
    said = claims.get("addr") if claims.get("iss") == "gateway" else None
    address = parse_address(said) if isinstance(said, str) else None
    return network_of(address or request[PEER])
