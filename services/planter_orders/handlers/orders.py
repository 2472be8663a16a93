"""An owner's orders: listed, shown, deleted, and followed as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import asdict

from aiohttp import hdrs, web

from services.planter_orders.handlers.app_keys import ORDER_EVENTS, ORDERS, RENDERER
from services.planter_orders.model.orders import OrderEvent, OrderFilter, PhotoEvent
from services.planter_orders.schemas.answers import DeletedAnswer, OrderAnswer, OrdersAnswer
from services.planter_orders.schemas.requests import OrdersQuery
from shared.app.middleware import LIFECYCLE
from shared.app.responses import JSON_TYPE, NO_STORE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.auth.access_tokens import VERIFIER, Principal, principal_of
from shared.auth.signed_links import link_end
from shared.clock import rfc3339
from shared.http.cursors import Position, parse_cursor
from shared.http.validation import parse_query

COLLECTION = "/api/images/orders"
ONE = COLLECTION + "/{order_id}"
COMMENT_S = 15.0
ASK_IF_REVOKED_S = 2.0
MAX_EVENT_ID = 2**63 - 1
HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
    hdrs.CACHE_CONTROL: "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # what nginx needs to be told
}


def caller_of(request: web.Request) -> Principal | None:
    """Return the caller of a path that a signed link opens too; None for whoever has one."""
    return principal_of(request) if link_end(request) is None else None


def place_of(query: OrdersQuery) -> Position | None:
    """Return where the page begins. Raises NotAllowedValue."""
    return None if query.cursor is None else parse_cursor(query.cursor)


async def list_orders(request: web.Request, query: OrdersQuery, wanted: OrderFilter) -> web.StreamResponse:
    """Answer a page where a limit is given, else all orders, streamed page by page."""
    after = place_of(query)
    if query.limit is None:
        return await _all_orders(request, wanted, after)
    orders, following = await request.app[ORDERS].page(wanted, after, query.limit)
    body = OrdersAnswer(
        orders=[request.app[RENDERER].order(order) for order in orders],
        count=len(orders),
        next_cursor=None if following is None else following.cursor(),
    )
    return json_answer(body, headers=NO_STORE)


async def _all_orders(request: web.Request, wanted: OrderFilter, after: Position | None) -> web.StreamResponse:
    renderer, count = request.app[RENDERER], 0

    async def parts() -> AsyncGenerator[bytes, None]:
        nonlocal count
        yield b'{"success":true,"orders":['
        async with aclosing(request.app[ORDERS].pages(wanted, after)) as pages:
            async for page in pages:
                texts = [renderer.order(order).model_dump_json() for order in page]
                yield (("," if count and texts else "") + ",".join(texts)).encode()
                count += len(texts)
        yield f'],"count":{count},"next_cursor":null}}'.encode()

    return await stream(request, parts(), {hdrs.CONTENT_TYPE: JSON_TYPE, **NO_STORE})


async def stream(
    request: web.Request, parts: AsyncGenerator[bytes, None], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send parts as they come; what fails before the second one is still answered as an error."""
    async with aclosing(parts):
        begin = await anext(parts) + await anext(parts, b"")
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=headers)
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(begin)
        async for part in parts:
            if part:
                await response.write(part)
        await response.write_eof()
    return response


async def list_own(request: web.Request) -> web.StreamResponse:
    query = parse_query(request, OrdersQuery)
    wanted = OrderFilter(user_id=principal_of(request).user_id, status=query.status)
    return await list_orders(request, query, wanted)


async def show(request: web.Request) -> web.Response:
    order = await request.app[ORDERS].show(principal_of(request), request.match_info["order_id"])
    return json_answer(OrderAnswer(order=request.app[RENDERER].order(order)), headers=NO_STORE)


async def delete(request: web.Request) -> web.Response:
    order_id = request.match_info["order_id"]
    await request.app[ORDERS].delete(principal_of(request), order_id)
    return json_answer(DeletedAnswer(order_id=order_id))


def _last_event_id(request: web.Request) -> int | None:
    """Return the last event that the client has seen; an id that is not ours counts as none."""
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
    ending = asyncio.create_task(request.app[LIFECYCLE].stopping.wait())
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
        path=COLLECTION,
        handler=list_own,
        summary="The caller's orders, newest first",
        access=Access.TOKEN,
        query=OrdersQuery,
        answers={200: Answer("The orders", OrdersAnswer)},
    ),
    Route(
        method="GET",
        path=ONE,
        handler=show,
        summary="One order",
        access=Access.TOKEN,
        answers={200: Answer("The order", OrderAnswer)},
    ),
    Route(
        method="DELETE",
        path=ONE,
        handler=delete,
        summary="Delete an order that is not paid, with its photos",
        access=Access.TOKEN,
        answers={200: Answer("Deleted", DeletedAnswer)},
        refusals=(409,),
    ),
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
