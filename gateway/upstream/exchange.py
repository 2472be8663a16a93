"""Asking a service: its addresses with their kept connections, balanced and with a breaker; a request is sent once.

It is sent again only where nothing was done with it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.metrics import UPSTREAM_CONNECT_FAILURES
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.response_head import LostConnection, ServiceDown
from shared.errors import KeepsakeError
from shared.metrics import begin_at_zero

CONNECT_TIMEOUT_S = 2.0
ALL_CONNECTS_S = 2.7  # a service that is down is said to be so within 3 s
FIRST_BYTE_S = 10.0
IDLE_S = 30.0  # less than the 60 s after which services close
MAX_IDLE = 64
FETCH_TIMEOUT_S = 1.5
MAX_PAGE_BYTES = 4 * 2**20
FIRST_REST_S = 0.5
LONGEST_REST_S = 3.0
REPEATABLE = frozenset({"GET", "HEAD"})  # a DELETE that was done already would be answered 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request to a service: the target as it was received, header lines that each end in CRLF, and its body.

    `body` is what is at hand, framed already; `more` gives what is still to come, framed too.
    """

    method: str
    target: bytes
    fields: bytes
    body: bytes = b""
    more: AsyncIterator[bytes] | None = None
    first_byte_s: float = FIRST_BYTE_S


class Address:
    """One address of a service: its idle connections, how busy it is, and until when it rests after a failure."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        name = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._server_name = name if self._tls else None
        self._port = parts.port or (443 if self._tls else 80)
        # A resolver may say ::1 first, where nobody listens on a system without IPv6.
        self._hosts = ("127.0.0.1", "::1") if name == "localhost" else (name,)
        host = f"[{name}]" if ":" in name else name
        self.host = f"{host}:{self._port}".encode()
        self.in_flight = 0
        self.rests_until = 0.0
        self._rest_s = FIRST_REST_S
        self._idle: list[UpstreamConnection] = []
        self.connections: set[UpstreamConnection] = set()  # idle or at work

    def take_idle(self) -> UpstreamConnection | None:
        """Return the connection used last, if one still stands."""
        oldest = asyncio.get_running_loop().time() - IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > oldest and connection.is_usable:
                return connection
            connection.abort()
        return None

    def put_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is over for the next one, or cut it."""
        self.in_flight -= 1
        if connection.finish():
            self._idle.append(connection)
            if len(self._idle) > MAX_IDLE:
                self._idle.pop(0).abort()

    def forget(self, connection: UpstreamConnection) -> None:
        self.connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

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
        for host in self._hosts:
            try:
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self), host, self._port, ssl=self._tls, server_hostname=self._server_name
                )
            except OSError:
                if host == self._hosts[-1]:
                    raise
            else:
                break
        self.connections.add(connection)
        return connection

    def rest(self) -> None:
        """Let other addresses be asked first for a moment: this one is stopping, or ended a connection without an answer."""
        self.rests_until = asyncio.get_running_loop().time() + FIRST_REST_S


class Pool:
    """All addresses of one service."""

    def __init__(self, service: str, urls: Sequence[str]) -> None:
        self.service = service
        begin_at_zero(UPSTREAM_CONNECT_FAILURES, service)
        self.addresses = [Address(url) for url in urls]
        self._turn = 0

    def _in_turn(self) -> list[Address]:
        """Return the addresses, the least busy first; those that rest come last, so that the last one is never left out."""
        self._turn += 1
        now = asyncio.get_running_loop().time()
        first = self._turn % len(self.addresses)
        turned = self.addresses[first:] + self.addresses[:first]
        return sorted(turned, key=lambda address: (address.rests_until > now, address.in_flight))

    async def connect(self, *, only: Address | None = None, fresh: bool = False) -> UpstreamConnection:
        """Return a connection that nothing was sent on yet; raises ServiceDown when no address can be connected to.

        `fresh` asks for a new connection; `only` for one address.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ALL_CONNECTS_S
        failure: Exception | None = None
        addresses = self.addresses if only is None else [only]
        for address in addresses if len(addresses) == 1 else self._in_turn():
            if not fresh and (idle := address.take_idle()) is not None:
                return idle
            left_s = deadline - loop.time()
            if left_s <= 0:
                break
            try:
                return await address.connect(min(CONNECT_TIMEOUT_S, left_s))
            except (OSError, TimeoutError) as error:
                failure = error
                UPSTREAM_CONNECT_FAILURES.labels(self.service).inc()
        raise ServiceDown(self.service) from failure

    @property
    def open_connections(self) -> int:
        """How many connections stand, idle or at work."""
        return sum(len(address.connections) for address in self.addresses)

    def close(self) -> None:
        for address in self.addresses:
            for connection in tuple(address.connections):
                connection.abort()


@asynccontextmanager
async def exchange(pool: Pool, outgoing: Outgoing, *, only: Address | None = None) -> AsyncIterator[UpstreamConnection]:
    """Send a request to one of a service's addresses, or to `only` that; give the connection once the answer's head is there.

    Raises ServiceDown, BadGateway, UpstreamTimeout, or whatever `more` raised.
    """
    connection = await _ask(pool, outgoing, only)
    try:
        yield connection
    finally:
        connection.address.put_back(connection)
        await connection.stop_upload()


async def _ask(pool: Pool, outgoing: Outgoing, only: Address | None) -> UpstreamConnection:
    """Return the connection on which the answer begins.

    A safe method (RFC 9110 section 9.2.1) is asked once more, on a new connection, where it was lost on a kept one, which may
    have been dead, or where there is another address than the one that ended without an answer, or is stopping.
    """
    may_repeat = outgoing.method in REPEATABLE and outgoing.more is None and not outgoing.body
    has_choice = only is None and len(pool.addresses) > 1
    fresh = False
    while True:
        connection = await pool.connect(only=only, fresh=fresh)
        connection.address.in_flight += 1
        is_answer = False
        try:
            connection.start(outgoing)
            await connection.wait_for_head()
            is_stopping = has_choice and connection.head.status == 503 and not connection.head.keep_alive
            if is_stopping and not fresh:
                connection.address.rest()
            is_answer = fresh or not is_stopping or not may_repeat
            if is_answer:
                return connection
        except LostConnection:
            if has_choice and not fresh:
                connection.address.rest()
            if fresh or not may_repeat or not (has_choice or connection.exchanges > 1):
                raise
        finally:
            if not is_answer:
                connection.address.put_back(connection)
                await connection.stop_upload()
        fresh = True


async def fetch(pool: Pool, path: bytes) -> bytes | None:
    """Return one of a service's own pages, or None where it gives none in time."""
    try:
        async with (
            asyncio.timeout(FETCH_TIMEOUT_S),
            exchange(pool, Outgoing(method="GET", target=path, fields=b"")) as answer,
        ):
            page = bytearray()
            while len(page) <= MAX_PAGE_BYTES and (data := await answer.read()):
                page += data
            return bytes(page) if answer.head.status == 200 else None
    except (KeepsakeError, OSError, TimeoutError):
        return None
