"""One request passed on and its answer: sent once, sent again only where nothing was done with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.errors import LostConnection
from gateway.upstream.pool import Address, Pool
from gateway.upstream.response_head import Head

REPEATABLE = frozenset({"GET", "HEAD"})  # a DELETE that was done already would be answered 404
FIRST_BYTE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request to a service: the target as it was received, header lines that each end in CRLF, and its body.

    `body` is what is at hand, framed already; `more` returns the next framed bytes, `b""` after the last.
    """

    method: str
    target: bytes
    fields: bytes
    body: bytes = b""
    more: Callable[[], Awaitable[bytes]] | None = None
    first_byte_s: float = FIRST_BYTE_S

    def opening(self, host: str) -> bytes:
        """Return the first bytes on the wire."""
        return b"%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n%s" % (
            self.method.encode(),
            self.target,
            host.encode(),
            self.fields,
            self.body,
        )

    @property
    def may_be_repeated(self) -> bool:
        """Whether sending it a second time gives the same answer (safe methods, RFC 9110 section 9.2.1)."""
        return self.method in REPEATABLE and self.more is None and not self.body


class Exchange:
    """`async with Exchange(pool, outgoing) as exchange`: the head is there on entry; `read` gives the body.

    Raises ServiceDown, BadGateway, UpstreamTimeout, or whatever `more` raised.
    """

    head: Head
    address: Address

    def __init__(self, pool: Pool, outgoing: Outgoing, *, only: Address | None = None) -> None:
        self._pool = pool
        self._outgoing = outgoing
        self._only = only
        self._connection: UpstreamConnection
        self._upload: asyncio.Task[None] | None = None
        self.upload_complete = outgoing.more is None

    async def __aenter__(self) -> Self:
        """Send the request and wait for the head of its answer."""
        fresh = False
        while True:
            self.address, self._connection = await self._pool.connect(only=self._only, fresh=fresh)
            self.address.in_flight += 1
            try:
                self._send()
                self.head = await self._connection.head()
            except LostConnection:
                self._end()
                if fresh or not self._may_ask_again():
                    raise
                fresh = True
            except BaseException:
                self._end()
                raise
            else:
                if fresh or not self._is_turned_away():
                    return self
                self._end()
                fresh = True

    def _may_ask_again(self) -> bool:
        """Tell whether to ask once more after a lost connection: a kept one may have been dead, or another address lives."""
        elsewhere = self._only is None and self._pool.has_choice
        if elsewhere:
            self.address.rest()
        return self._outgoing.may_be_repeated and (elsewhere or self._connection.exchanges > 1)

    def _is_turned_away(self) -> bool:
        """Tell whether the address is stopping and did nothing, so that another one should be asked the same."""
        stopping = self.head.status == 503 and not self.head.keep_alive
        if not stopping or self._only is not None or not self._pool.has_choice:
            return False
        self.address.rest()
        return self._outgoing.may_be_repeated

    def _send(self) -> None:
        outgoing, connection = self._outgoing, self._connection
        connection.begin(outgoing.method, outgoing.opening(self.address.host_header))
        if outgoing.more is None:
            connection.expect_answer_within(outgoing.first_byte_s)
        else:
            self._upload = asyncio.create_task(self._send_body(outgoing.more))

    async def _send_body(self, more: Callable[[], Awaitable[bytes]]) -> None:
        connection = self._connection
        try:
            while data := await more():
                connection.write(data)
                await connection.drain()
        except Exception as error:  # noqa: BLE001 - raised where the answer is awaited
            connection.fail(error)
        else:
            self.upload_complete = True
            connection.expect_answer_within(self._outgoing.first_byte_s)

    async def read(self) -> bytes:
        """Return the next bytes of the answer's body, `b""` at its end."""
        return await self._connection.read()

    @property
    def complete(self) -> bool:
        """Whether all of the answer's body is here, so that `read` does not wait."""
        return self._connection.complete

    def cut(self) -> None:
        """End the exchange from elsewhere: `read` raises ConnectionResetError."""
        self._connection.fail(ConnectionResetError())

    async def stop_upload(self) -> None:
        """Send no more of the body: the answer came before its end."""
        if self._upload is not None and not self._upload.done():
            self._upload.cancel()
            await asyncio.wait([self._upload])

    def _end(self) -> None:
        self.address.in_flight -= 1
        if self._upload is not None and not self._upload.done():
            self._upload.cancel()
        if not self.upload_complete:
            self._connection.abort()
        self.address.put_back(self._connection)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Keep the connection for the next request if this one came to its end, else cut it."""
        self._end()
        if self._upload is not None and not self._upload.done():
            await asyncio.wait([self._upload])
