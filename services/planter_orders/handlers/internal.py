"""What other services ask of orders."""

from __future__ import annotations

from aiohttp import web

from services.planter_orders.handlers.keys import ORDERS
from services.planter_orders.model.orders import Order
from services.planter_orders.schemas import OrderFacts, ServiceStatusChange
from shared.app.responses import NO_STORE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.http.validation import parse_json

ONE = "/internal/orders/{order_id}"


def _facts(order: Order) -> web.Response:
    return json_answer(OrderFacts(order_id=order.id, user_id=order.user_id, status=order.status), headers=NO_STORE)


async def tell(request: web.Request) -> web.Response:
    """`GET /internal/orders/{order_id}`."""
    return _facts(await request.app[ORDERS].find(request.match_info["order_id"]))


async def move(request: web.Request) -> web.Response:
    """`POST /internal/orders/{order_id}/status`."""
    body = await parse_json(request, ServiceStatusChange)
    order_id = request.match_info["order_id"]
    return _facts(await request.app[ORDERS].move(order_id, body.status, body.note, body.event_id))


ROUTES = (
    Route(
        method="GET",
        path=ONE,
        handler=tell,
        summary="Whose an order is, and where it stands",
        access=Access.SERVICE,
        answers={200: Answer("The order", OrderFacts)},
    ),
    Route(
        method="POST",
        path=ONE + "/status",
        handler=move,
        summary="Tell that an order was paid, or its session expired",
        access=Access.SERVICE,
        body=ServiceStatusChange,
        answers={200: Answer("The order", OrderFacts)},
        refusals=(409,),
    ),
)
