"""`GET /api/images/orders/{order_id}/events`: server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing, suppress
from dataclasses import asdict

from aiohttp import hdrs, web

from services.planter_orders.handlers.app_keys import ORDER_EVENTS, ORDERS
from services.planter_orders.handlers.orders import caller_of
from services.planter_orders.model.orders import OrderEvent, PhotoEvent
from shared.app.lifecycle import LIFE
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.auth.access_tokens import VERIFIER, Principal
from shared.auth.signed_links import link_end
from shared.clock import rfc3339

COMMENT_S = 15.0
ASK_IF_REVOKED_S = 2.0
MAX_EVENT_ID = 2**63 - 1
HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
    hdrs.CACHE_CONTROL: "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # what nginx needs to be told
}


def _last_event_id(request: web.Request) -> int | None:
    """Return what the client has seen; what is no id of ours counts as nothing."""
    given = request.headers.get("Last-Event-ID", "")
    return min(int(given), MAX_EVENT_ID) if given.isascii() and given.isdigit() and len(given) < 30 else None


def _written(event: OrderEvent | None) -> bytes:
    if event is None:
        return b": still here\n\n"
    data = {**asdict(event), "at": rfc3339(event.at)}
    kind = "photo" if isinstance(event, PhotoEvent) else "status"
    return f"id: {data.pop('id')}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


async def follow(request: web.Request) -> web.StreamResponse:
    """Send events until the order is deleted, the link or the token expires, its session ends, or the service stops."""
    caller = caller_of(request)
    async with request.app[ORDER_EVENTS].reading:
        order = await request.app[ORDERS].show(caller, request.match_info["order_id"])
    if request.method == hdrs.METH_HEAD:
        return web.Response(headers=HEADERS)
    response = web.StreamResponse(headers=HEADERS)
    await response.prepare(request)
    sending = asyncio.create_task(_send(request, response, order.id, caller))
    ending = asyncio.create_task(request.app[LIFE].stopping.wait())
    revoked = asyncio.create_task(_revoked(request, caller))
    try:
        await asyncio.wait({sending, ending, revoked}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        for task in (sending, ending, revoked):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
    await response.write_eof()
    return response


async def _has_ended(request: web.Request, caller: Principal | None) -> bool:
    return caller is not None and await request.app[VERIFIER].has_ended(caller)


async def _revoked(request: web.Request, caller: Principal | None) -> None:
    """Wait until the session has ended by whose token the request came; a link goes on until it expires."""
    while not await _has_ended(request, caller):  # noqa: ASYNC110 - the list of ended sessions tells nobody
        await asyncio.sleep(ASK_IF_REVOKED_S)


async def _send(request: web.Request, response: web.StreamResponse, order_id: str, caller: Principal | None) -> None:
    until = (link_end(request) or 0) if caller is None else caller.expires_at
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(until - time.time()),
            aclosing(request.app[ORDER_EVENTS].follow(order_id, _last_event_id(request), COMMENT_S)) as events,
        ):
            async for event in events:
                if await _has_ended(request, caller):
                    return
                await response.write(_written(event))


ROUTES = (
    Route(
        method="GET",
        path="/api/images/orders/{order_id}/events",
        handler=follow,
        summary="The order's status as server-sent events",
        access=Access.TOKEN,
        by_link=True,
        answers={200: Answer("The events", content_type="text/event-stream")},
    ),
)
