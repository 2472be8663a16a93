"""Whose request it is: the peer's address, or what the trusted proxies before us say it was."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from aiohttp import hdrs, web

from shared.http.connection import Connection
from shared.settings import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
UNKNOWN = ipaddress.IPv4Address(0)
IPV6_SITE_BITS = 64


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """Read an IP address, with or without port and brackets; an IPv4-mapped IPv6 address is the IPv4 one."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=4096)
def network_of(address: Address) -> str:
    """Return what a limit counts as one client: an IPv4 address, or the /64 an IPv6 address is in."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_SITE_BITS), strict=False))


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    """Tell whether one of the networks holds the address."""
    return any(address.version == network.version and address in network for network in networks)


def peer_of(request: web.BaseRequest) -> Address:
    """Return the address at the other end of the connection."""
    connection = request.protocol
    peer = connection.peer if isinstance(connection, Connection) else request.remote
    return parse_address(peer or "") or UNKNOWN


def client_address(request: web.BaseRequest, trusted_proxies: Sequence[Network]) -> Address:
    """Return the client's address: `X-Forwarded-For` is read from the right for as long as trusted proxies wrote it."""
    address = peer_of(request)
    if not trusted_proxies or not is_in(address, trusted_proxies):
        return address
    said = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, [])).split(",")
    while said and is_in(address, trusted_proxies):
        before = parse_address(said.pop())
        if before is None:
            break
        address = before
    return address
