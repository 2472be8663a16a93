"""Listings of orders: a page where a limit is given, else all of them, streamed page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from aiohttp import hdrs, web

from services.planter_orders.handlers.keys import LINKS, ORDERS
from services.planter_orders.model.orders import OrderFilter, Place, parse_cursor
from services.planter_orders.schemas import OrdersAnswer, OrdersQuery
from shared.app.responses import NO_STORE, json_answer


def place_of(query: OrdersQuery) -> Place | None:
    """Return where the page begins. Raises NotAllowedValue."""
    return None if query.cursor is None else parse_cursor(query.cursor)


async def list_orders(request: web.Request, query: OrdersQuery, wanted: OrderFilter) -> web.StreamResponse:
    """Answer a listing."""
    after = place_of(query)
    if query.limit is None:
        return await _all_orders(request, wanted, after)
    orders, following = await request.app[ORDERS].page(wanted, after, query.limit)
    body = OrdersAnswer(
        orders=[request.app[LINKS].order(order) for order in orders],
        count=len(orders),
        next_cursor=None if following is None else following.cursor(),
    )
    return json_answer(body, headers=NO_STORE)


async def _all_orders(request: web.Request, wanted: OrderFilter, after: Place | None) -> web.StreamResponse:
    links, count = request.app[LINKS], 0

    async def parts() -> AsyncIterator[str]:
        nonlocal count
        yield '{"success":true,"orders":['
        async with aclosing(request.app[ORDERS].pages(wanted, after)) as pages:
            async for page in pages:
                texts = [links.order(order).model_dump_json() for order in page]
                yield ("," if count and texts else "") + ",".join(texts)
                count += len(texts)
        yield f'],"count":{count},"next_cursor":null}}'

    return await stream(request, parts(), "application/json; charset=utf-8")


async def stream(
    request: web.Request, parts: AsyncIterator[str], content_type: str, disposition: str | None = None
) -> web.StreamResponse:
    """Send text in parts; what fails before the second one is still answered as an error."""
    headers = {hdrs.CONTENT_TYPE: content_type, **NO_STORE}
    if disposition is not None:
        headers[hdrs.CONTENT_DISPOSITION] = disposition
    begin = await anext(parts) + await anext(parts, "")
    if request.method == hdrs.METH_HEAD:
        return web.Response(headers=headers)
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write(begin.encode())
    async for part in parts:
        if part:
            await response.write(part.encode())
    await response.write_eof()
    return response
