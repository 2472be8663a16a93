"""The addresses of one service: kept connections, requests balanced over them, and a breaker for those that are down."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from gateway.metrics import UPSTREAM_CONNECT_FAILURES
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.errors import ServiceDown

CONNECT_TIMEOUT_S = 2.0
ALL_CONNECTS_S = 2.7  # a service that is down is said to be so within 3 s
IDLE_S = 30.0  # less than the 60 s after which services close
MAX_IDLE = 64
FIRST_REST_S = 0.5
LONGEST_REST_S = 3.0


class Address:
    """One address of a service: its idle connections, how busy it is, and until when it rests after a failure."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        name = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._server_name = name
        self._port = parts.port or (443 if self._tls else 80)
        # A resolver may say ::1 first, where nobody listens on a system without IPv6.
        self._hosts = ("127.0.0.1", "::1") if name == "localhost" else (name,)
        host = f"[{name}]" if ":" in name else name
        self.host_header = f"{host}:{self._port}"
        self.in_flight = 0
        self.rests_until = 0.0
        self._rest_s = FIRST_REST_S
        self._idle: list[UpstreamConnection] = []
        self._all: set[UpstreamConnection] = set()

    def take_idle(self) -> UpstreamConnection | None:
        """Return the connection used last, if one still stands."""
        oldest = asyncio.get_running_loop().time() - IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > oldest and connection.is_usable:
                return connection
            connection.close()
        return None

    async def connect(self, timeout_s: float) -> UpstreamConnection:
        """Open a connection; raises OSError or TimeoutError, and lets the address rest after either."""
        loop = asyncio.get_running_loop()
        # Whoever tries an address that failed keeps others from trying it at the same time.
        self.rests_until = loop.time() + self._rest_s if self.rests_until else 0.0
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connect_to_any(loop)
        except (OSError, TimeoutError):
            self.rests_until = loop.time() + self._rest_s
            self._rest_s = min(self._rest_s * 2, LONGEST_REST_S)
            raise
        self.rests_until, self._rest_s = 0.0, FIRST_REST_S
        return connection

    async def _connect_to_any(self, loop: asyncio.AbstractEventLoop) -> UpstreamConnection:
        for host in self._hosts[:-1]:
            try:
                return await self._connect_to(loop, host)
            except OSError:
                continue
        return await self._connect_to(loop, self._hosts[-1])

    async def _connect_to(self, loop: asyncio.AbstractEventLoop, host: str) -> UpstreamConnection:
        name = self._server_name if self._tls else None
        _, connection = await loop.create_connection(
            lambda: UpstreamConnection(self._lost), host, self._port, ssl=self._tls, server_hostname=name
        )
        self._all.add(connection)
        return connection

    def rest(self) -> None:
        """Let other addresses be asked first for a moment: this one is stopping, or ended a connection without an answer."""
        self.rests_until = asyncio.get_running_loop().time() + FIRST_REST_S

    def _lost(self, connection: UpstreamConnection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def put_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is over for the next one, or close it."""
        if not connection.finish():
            return
        if len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    @property
    def open_connections(self) -> int:
        """How many connections stand, idle or at work."""
        return len(self._all)

    def close(self) -> None:
        """Cut every connection."""
        for connection in tuple(self._all):
            connection.abort()


class Pool:
    """All addresses of one service."""

    def __init__(self, service: str, urls: Sequence[str]) -> None:
        self.service = service
        self._addresses = [Address(url) for url in urls]
        self._turn = 0

    def _in_turn(self) -> list[Address]:
        """Return the addresses, the least busy first; those that rest come last, so that the last one is never left out."""
        if len(self._addresses) == 1:
            return self._addresses
        self._turn += 1
        now = asyncio.get_running_loop().time()
        turned = (
            self._addresses[self._turn % len(self._addresses) :] + self._addresses[: self._turn % len(self._addresses)]
        )
        return sorted(turned, key=lambda address: (address.rests_until > now, address.in_flight))

    @property
    def has_choice(self) -> bool:
        """Whether there is more than one address."""
        return len(self._addresses) > 1

    async def connect(self, *, only: Address | None = None, fresh: bool = False) -> tuple[Address, UpstreamConnection]:
        """Return a connection that nothing was sent on yet; raises ServiceDown when no address can be connected to.

        `fresh` asks for a new connection; `only` for one address.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ALL_CONNECTS_S
        failure: Exception | None = None
        for address in [only] if only is not None else self._in_turn():
            if not fresh and (idle := address.take_idle()) is not None:
                return address, idle
            left_s = deadline - loop.time()
            if left_s <= 0:
                break
            try:
                return address, await address.connect(min(CONNECT_TIMEOUT_S, left_s))
            except (OSError, TimeoutError) as error:
                failure = error
                UPSTREAM_CONNECT_FAILURES.labels(self.service).inc()
        raise ServiceDown(self.service) from failure

    @property
    def open_connections(self) -> int:
        """How many connections stand, idle or at work."""
        return sum(address.open_connections for address in self._addresses)

    def close(self) -> None:
        """Cut every connection of every address."""
        for address in self._addresses:
            address.close()
