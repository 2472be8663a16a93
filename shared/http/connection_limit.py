"""How many connections one client may have open: beyond that the longest idle of its own gives way, never another client's."""

from __future__ import annotations

import resource
from collections import OrderedDict
from typing import Final

from aiohttp import web

from shared.http.client_address import is_in, network_of, parse_address
from shared.http.connection import Connection
from shared.settings import Networks

MOST_PER_CLIENT = 1024
SHARE_OF_DESCRIPTORS = 4  # one client gets at most a quarter of what the process may open
MOST_DESCRIPTORS = 65_536


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

    def _client_of(self, connection: Connection) -> str:
        address = parse_address(connection.peer)
        return "" if address is None or is_in(address, self._trusted_proxies) else network_of(address)

    def enter(self, connection: Connection) -> bool:
        """Count a new connection; False where its client has too many already and all of them are at work."""
        client = self._client_of(connection)
        if not client:
            return True
        present = self._connections.setdefault(client, OrderedDict())
        if len(present) >= self._most:
            idle = next((one for one in present if one.is_idle), None)
            if idle is None:
                return False
            del present[idle]
            idle.force_close()
        present[connection] = None
        return True

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        client = self._client_of(connection)
        present = self._connections.get(client)
        if present is not None:
            present.pop(connection, None)
            if not present:
                del self._connections[client]


CONNECTION_LIMITER: Final = web.AppKey("CONNECTION_LIMITER", ConnectionLimiter)
