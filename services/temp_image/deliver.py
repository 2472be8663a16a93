"""Sending an image over a connection, and settling its claim by how the sending ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import web

from services.temp_image.model import CLAIM_STANDS_S, ClaimLapsed, ImageContent, ImageDescription
from services.temp_image.service import TempImageService
from shared.app.responses import WholeAnswer
from shared.errors import KeepsakeError
from shared.http.tcp_delivery import limit_send_buffer, unacknowledged_bytes, wait_delivered
from shared.log import get_logger
from shared.metrics import CLAIMS_SETTLED, begin_at_zero

CLAIM_HEADER = "X-Keepsake-Claim"
PIECE_BYTES = 256 * 1024
# Small enough to notice a gateway that died before it had the end, large enough to keep it busy.
GATEWAY_SEND_BUFFER_BYTES = 256 * 1024
RENEW_EVERY_S = 5.0
# A transfer this small is over, or has failed, long before its claim lapses.
NEEDS_NO_RENEWAL_BYTES = 64 * 1024

IMAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Content-Disposition": "inline",
    # nginx would take the whole image at once, and the browser's connection would count no more.
    "X-Accel-Buffering": "no",
    # Opened as a page of its own, nothing in the bytes may act for this site.
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
begin_at_zero(CLAIMS_SETTLED, "confirm", "release", "lapsed")


def image_response(image: ImageDescription | ImageContent) -> web.StreamResponse:
    """Begin the answer that carries, or to HEAD describes, an image."""
    response = web.StreamResponse(headers=IMAGE_HEADERS)
    response.content_type = image.content_type
    response.content_length = image.size if isinstance(image, ImageDescription) else len(image.content)
    return response


async def send_description(request: web.Request, image: ImageDescription) -> web.StreamResponse:
    response = image_response(image)
    await response.prepare(request)
    await response.write_eof()
    return response


async def send_image(
    request: web.Request, image: ImageContent, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """Send the whole image, a small one in one write. Raises ConnectionResetError where the connection broke."""
    content = image.content
    if isinstance(content, bytes):
        whole = WholeAnswer(content, {**IMAGE_HEADERS, **(headers or {}), "Content-Type": image.content_type})
        await whole.prepare(request)
        return whole
    response = image_response(image)
    response.headers.update(headers or {})
    await response.prepare(request)
    view = memoryview(content)
    for start in range(0, len(view), PIECE_BYTES):
        await response.write(view[start : start + PIECE_BYTES])
    await response.write_eof()
    return response


async def send_for_gateway(
    request: web.Request, image_id: str, claim: str, image: ImageContent, claims: TempImageService
) -> web.StreamResponse:
    """Send a claimed image with its claim, which the gateway settles; give it back where the gateway goes away."""
    sent = False
    try:
        limit_send_buffer(_transport_of(request), GATEWAY_SEND_BUFFER_BYTES)
        response = await send_image(request, image, {CLAIM_HEADER: claim})
        sent = True
    finally:
        image.release()
        if not sent:
            await _settle(claims, image_id, claim, delivered=False)
    return response


async def send_and_settle(
    request: web.Request, image_id: str, claim: str, image: ImageContent, claims: TempImageService
) -> web.StreamResponse:
    """Send a claimed image; use it up once the peer has acknowledged its last byte, else give it back."""
    delivered, keeping = False, None
    try:
        transport = _transport_of(request)
        limit_send_buffer(transport)
        if len(image.content) > NEEDS_NO_RENEWAL_BYTES:
            keeping = asyncio.create_task(_keep_claim(transport, image_id, claim, claims))
        response = await send_image(request, image)
        delivered = await wait_delivered(transport)
    finally:
        image.release()
        if keeping is not None:
            keeping.cancel()
        end = await _settle(claims, image_id, claim, delivered=delivered)
        CLAIMS_SETTLED.labels(end).inc()
    return response


def _transport_of(request: web.Request) -> asyncio.WriteTransport:
    if request.transport is None:
        raise ConnectionResetError
    return request.transport


async def _settle(claims: TempImageService, image_id: str, claim: str, *, delivered: bool) -> str:
    """Settle the claim and say how it ended; what goes wrong is logged, as the answer is out: the claim lapses by itself."""
    try:
        await (claims.confirm if delivered else claims.release)(image_id, claim)
    except KeepsakeError as error:
        if isinstance(error, ClaimLapsed) and not delivered:
            get_logger().info("claim_ended_before")  # by the gateway, or with its time: nothing is to be given back
        else:
            get_logger().warning("delivery_not_settled", code=error.code, delivered=delivered)
        return "lapsed"
    return "confirm" if delivered else "release"


async def _keep_claim(transport: asyncio.WriteTransport, image_id: str, claim: str, claims: TempImageService) -> None:
    """Renew the claim while bytes move; cut the connection, which gives the image back, when none did while it stood."""
    idle_s, before = 0.0, None
    while idle_s < CLAIM_STANDS_S:
        await asyncio.sleep(RENEW_EVERY_S)
        waiting = unacknowledged_bytes(transport)
        idle_s = idle_s + RENEW_EVERY_S if waiting == before else 0.0
        before = waiting
        if not idle_s:
            with suppress(KeepsakeError):
                await claims.renew(image_id, claim)
    transport.abort()
