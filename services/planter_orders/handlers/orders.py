"""One's own orders: listed, shown, deleted; and how an order looks on the wire."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from aiohttp import hdrs, web

from services.planter_orders.handlers.app_keys import ORDERS, RENDERER
from services.planter_orders.model.orders import OrderFilter
from services.planter_orders.schemas.answers import DeletedAnswer, OrderAnswer, OrdersAnswer
from services.planter_orders.schemas.requests import OrdersQuery
from shared.app.responses import NO_STORE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.auth.access_tokens import Principal, principal_of
from shared.auth.signed_links import link_end
from shared.http.cursors import Position, parse_cursor
from shared.http.validation import parse_query

COLLECTION = "/api/images/orders"
ONE = COLLECTION + "/{order_id}"


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

    return await stream(request, parts(), {hdrs.CONTENT_TYPE: "application/json; charset=utf-8", **NO_STORE})


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
    """`GET /api/images/orders`."""
    query = parse_query(request, OrdersQuery)
    wanted = OrderFilter(user_id=principal_of(request).user_id, status=query.status)
    return await list_orders(request, query, wanted)


async def show(request: web.Request) -> web.Response:
    """`GET /api/images/orders/{order_id}`."""
    order = await request.app[ORDERS].show(principal_of(request), request.match_info["order_id"])
    return json_answer(OrderAnswer(order=request.app[RENDERER].order(order)), headers=NO_STORE)


async def delete(request: web.Request) -> web.Response:
    """`DELETE /api/images/orders/{order_id}`."""
    order_id = request.match_info["order_id"]
    await request.app[ORDERS].delete(principal_of(request), order_id)
    return json_answer(DeletedAnswer(order_id=order_id))


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
)
