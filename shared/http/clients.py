"""Clients: what address a request comes from, as the trusted proxies before us say, and how many connections one may open."""

from __future__ import annotations

import ipaddress
import resource
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from shared.settings import Network, Networks

if TYPE_CHECKING:
    from shared.http.connection import Connection

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
UNKNOWN = ipaddress.IPv4Address(0)
IPV6_SITE_BITS = 64
MOST_PER_CLIENT = 1024
SHARE_OF_DESCRIPTORS = 4  # one client gets at most a quarter of what the process may open
MOST_DESCRIPTORS = 65_536


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
    for network in networks:  # noqa: SIM110 - a generator for it would cost more than the question
        if address in network:
            return True
    return False


PEER: Final[web.RequestKey[Address]] = web.RequestKey("PEER")  # at the other end of the connection


def client_address(request: web.BaseRequest, trusted_proxies: Sequence[Network]) -> Address:
    """Return the client's address: `X-Forwarded-For` is read from the right for as long as trusted proxies wrote it."""
    address = request[PEER]
    if not trusted_proxies or not is_in(address, trusted_proxies):
        return address
    said = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, [])).split(",")
    while said and is_in(address, trusted_proxies):
        before = parse_address(said.pop())
        if before is None:
            break
        address = before
    return address


def raise_descriptor_limit() -> None:
    """Allow the process as many open files as the system lets it; shells start it with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class ConnectionLimiter:
    """The connections of each client: an IPv4 address, or an IPv6 /64. Proxies that speak for many are not counted."""

    def __init__(self, trusted_proxies: Networks, most_per_client: int = 0) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        share = MOST_PER_CLIENT if soft == resource.RLIM_INFINITY else soft // SHARE_OF_DESCRIPTORS
        self._most = most_per_client or min(MOST_PER_CLIENT, share)
        self._trusted_proxies = trusted_proxies
        self._connections: dict[str, OrderedDict[Connection, None]] = {}

    def enter(self, connection: Connection) -> bool:
        """Count a new connection; False where its client has too many already and all of them are at work."""
        if connection.peer == UNKNOWN or is_in(connection.peer, self._trusted_proxies):
            return True
        connection.client = network_of(connection.peer)
        present = self._connections.setdefault(connection.client, OrderedDict())
        if len(present) >= self._most:
            idle = next((one for one in present if not one.unanswered), None)
            if idle is None:
                return False
            del present[idle]
            idle.force_close()
        present[connection] = None
        return True

    def leave(self, connection: Connection) -> None:
        present = self._connections.get(connection.client)
        if present is not None:
            present.pop(connection, None)
            if not present:
                del self._connections[connection.client]


CONNECTION_LIMITER: Final = web.AppKey("CONNECTION_LIMITER", ConnectionLimiter)
