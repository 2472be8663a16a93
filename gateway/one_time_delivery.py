"""One-time images: the service hands one out as a claim, and only the gateway can see whether the browser got it."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from urllib.parse import quote

from aiohttp import web

from gateway.admission import CLIENTS
from gateway.stalled_reader import ReaderWatch
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.exchange import Address, Outgoing, Pool, exchange
from gateway.upstream.response_head import BadGateway
from shared.app.middleware import REQUEST_ID
from shared.concurrency.background_tasks import BackgroundTasks
from shared.errors import KeepsakeError
from shared.http.clients import UNKNOWN
from shared.http.tcp_delivery import limit_send_buffer, wait_delivered
from shared.log import get_logger
from shared.metrics import CLAIMS_SETTLED
from shared.tracing import trace_headers

CLAIM_HEADER = "x-keepsake-claim"
PIECE_BYTES = 16 * 1024
CLAIM_STANDS_S = 30.0
# While a claim stands, its service may be restarting; the browser's next request waits for a moment of that only.
SETTLE_FOR_S = 25.0
SETTLE_PAUSE_S = 0.2
LONGEST_PAUSE_S = 1.0
WAITED_FOR_S = 1.0
LAST_SETTLE_S = 3.0
# An unacknowledged tail that moves no more for so long is a broken transfer; a reset is seen at once.
STANDSTILL_S = 2.0


# Calls that must be made whatever becomes of the request they belong to.
SETTLEMENTS: Final = web.AppKey("SETTLEMENTS", BackgroundTasks)


class Claim:
    """The claim on one image, at the very address that gave it: another instance may not know of it yet."""

    def __init__(self, request: web.Request, pool: Pool, address: Address, claim: str) -> None:
        self._pool = pool
        self._address = address
        image_id = quote(request.query.get("imageId", ""), safe="")
        self._path = f"/internal/claims/{image_id}/{quote(claim, safe='')}"
        self._clients = request.app[CLIENTS]
        self._request_id = request[REQUEST_ID]
        self._stands_until = time.monotonic() + CLAIM_STANDS_S

    async def _call(self, verb: str) -> int:
        """Make one call and return its status; the token is signed anew, since a transfer may outlive one."""
        token = self._clients.token(self._pool.service, str(UNKNOWN))
        outgoing = Outgoing(
            method="POST",
            target=f"{self._path}/{verb}".encode(),
            fields=(
                f"Authorization: Bearer {token}\r\nX-Request-Id: {self._request_id}\r\nContent-Length: 0\r\n"
                + "".join(f"{name}: {value}\r\n" for name, value in trace_headers().items())
            ).encode(),
        )
        async with exchange(self._pool, outgoing, only=self._address) as answer:
            while await answer.read():
                pass
            status = answer.head.status
        if status >= 500:
            raise BadGateway(f"{verb}: {status}")
        return status

    async def renew(self) -> None:
        """Keep the claim from lapsing; one call that fails is made up for by the next."""
        try:
            if await self._call("renew") < 300:
                self._stands_until = time.monotonic() + CLAIM_STANDS_S
        except KeepsakeError as error:
            get_logger().warning("delivery_not_renewed", exc_info=error)

    async def settle(self, verb: str) -> None:
        """Confirm or release; a claim that cannot be settled lapses by itself, and the image is available again."""
        pause_s, ends_at = SETTLE_PAUSE_S, time.monotonic() + SETTLE_FOR_S
        while time.monotonic() < ends_at:
            try:
                status = await self._call(verb)
            except KeepsakeError as error:
                get_logger().warning("delivery_not_settled", verb=verb, exc_info=error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                CLAIMS_SETTLED.labels(self._end(verb, status)).inc()
                return
        CLAIMS_SETTLED.labels("lapsed").inc()

    def _end(self, verb: str, status: int) -> str:
        """Say how the delivery ended: a refusal means that the claim stood no more.

        Where a download broke off, the service, which sees the gateway leave, has often given the image back by itself.
        """
        if status < 300:
            return verb
        return "already_released" if verb == "release" and time.monotonic() < self._stands_until else "lapsed"


def claim_of(request: web.Request, answer: UpstreamConnection, pool: Pool) -> Claim | None:
    """Return the claim that the answer carries, if it is one that carries any."""
    given = answer.head.value(CLAIM_HEADER)
    if given is None or answer.head.status != 200:
        return None
    return Claim(request, pool, answer.address, given)


async def deliver(
    request: web.Request, stream: web.StreamResponse, answer: UpstreamConnection, claim: Claim
) -> web.StreamResponse:
    """Stream the image to the browser, and confirm the claim once its last byte has arrived; else release it."""
    settlements = request.app[SETTLEMENTS]
    delivered = False
    try:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        limit_send_buffer(transport)
        with ReaderWatch(transport, lambda: settlements.start(claim.renew())) as watch:
            await stream.prepare(request)
            while data := await answer.read():
                for start in range(0, len(data), PIECE_BYTES):
                    watch.sent += len(data[start : start + PIECE_BYTES])
                    await stream.write(data[start : start + PIECE_BYTES])
            await stream.write_eof()
            delivered = await wait_delivered(request.transport, STANDSTILL_S)
        if not delivered:
            # What was not delivered is offered again, so nobody may get the rest of it now.
            transport.abort()
            raise ConnectionResetError
    finally:
        settled = settlements.start(claim.settle("confirm" if delivered else "release"))
    await asyncio.wait([settled], timeout=WAITED_FOR_S)
    return stream
