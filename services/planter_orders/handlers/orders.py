"""One's own orders."""

from __future__ import annotations

from aiohttp import web

from services.planter_orders.handlers.keys import LINKS, ORDERS
from services.planter_orders.handlers.listing import list_orders
from services.planter_orders.model.orders import OrderFilter
from services.planter_orders.schemas import DeletedAnswer, OrderAnswer, OrdersAnswer, OrdersQuery
from shared.app.responses import NO_STORE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.auth.access_tokens import principal_of
from shared.http.validation import parse_query

COLLECTION = "/api/images/orders"
ONE = COLLECTION + "/{order_id}"


async def list_own(request: web.Request) -> web.StreamResponse:
    """`GET /api/images/orders`."""
    query = parse_query(request, OrdersQuery)
    wanted = OrderFilter(user_id=principal_of(request).user_id, status=query.status)
    return await list_orders(request, query, wanted)


async def show(request: web.Request) -> web.Response:
    """`GET /api/images/orders/{order_id}`."""
    order = await request.app[ORDERS].show(principal_of(request), request.match_info["order_id"])
    return json_answer(OrderAnswer(order=request.app[LINKS].order(order)), headers=NO_STORE)


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
