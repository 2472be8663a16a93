"""What admins do (all orders, as JSON and as CSV, and their moves), and what other services ask of orders."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

from aiohttp import web

from services.planter_orders.handlers.app_keys import ORDERS, RENDERER
from services.planter_orders.handlers.orders import list_orders, place_of, stream
from services.planter_orders.model.csv import csv_row
from services.planter_orders.model.orders import Order, OrderFilter
from services.planter_orders.schemas import (
    AllOrdersQuery,
    OrderAnswer,
    OrderFacts,
    OrdersAnswer,
    ServiceStatusChange,
    StatusChange,
)
from shared.app.responses import NO_STORE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.clock import rfc3339
from shared.http.validation import parse_json, parse_query

COLLECTION = "/api/admin/orders"
INTERNAL = "/internal/orders/{order_id}"
BYTE_ORDER_MARK = "\ufeff"  # without it spreadsheets read the file in the language's old encoding
COLUMNS = (
    "order_id",
    "user_id",
    "status",
    "upload_timestamp",
    "pet_name",
    "pet_type",
    "notes",
    "files",
    "filenames",
    "original_filenames",
)


def _wanted(query: AllOrdersQuery) -> OrderFilter:
    return OrderFilter(query.user_id, query.status, query.since, query.until)


async def list_all(request: web.Request) -> web.StreamResponse:
    """`GET /api/admin/orders`."""
    query = parse_query(request, AllOrdersQuery)
    return await list_orders(request, query, _wanted(query))


def _row(order: Order) -> str:
    return csv_row(
        (
            order.id,
            order.user_id,
            order.status,
            rfc3339(order.created_at),
            order.pet_name,
            order.pet_type,
            order.notes,
            str(len(order.photos)),
            "\n".join(photo.filename for photo in order.photos),
            "\n".join(photo.original_filename for photo in order.photos),
        )
    )


def _rows(orders: Iterable[Order]) -> str:
    return "".join(map(_row, orders))


async def export(request: web.Request) -> web.StreamResponse:
    """`GET /api/admin/orders.csv`."""
    query = parse_query(request, AllOrdersQuery)
    wanted, after, service = _wanted(query), place_of(query), request.app[ORDERS]

    async def parts() -> AsyncIterator[str]:
        yield BYTE_ORDER_MARK + csv_row(COLUMNS)
        if query.limit is not None:
            yield _rows((await service.page(wanted, after, query.limit))[0])
            return
        async with aclosing(service.pages(wanted, after)) as pages:
            async for page in pages:
                yield _rows(page)

    disposition = 'attachment; filename="orders.csv"'
    return await stream(request, parts(), "text/csv; charset=utf-8; header=present", disposition)


async def change(request: web.Request) -> web.Response:
    """`PATCH /api/admin/orders/{order_id}`."""
    body = await parse_json(request, StatusChange)
    order = await request.app[ORDERS].move(request.match_info["order_id"], body.status, body.note)
    return json_answer(OrderAnswer(order=request.app[RENDERER].order(order)), headers=NO_STORE)


def _facts(order: Order) -> web.Response:
    return json_answer(OrderFacts(order_id=order.id, user_id=order.user_id, status=order.status), headers=NO_STORE)


async def show_to_service(request: web.Request) -> web.Response:
    """`GET /internal/orders/{order_id}`."""
    return _facts(await request.app[ORDERS].find(request.match_info["order_id"]))


async def change_for_service(request: web.Request) -> web.Response:
    """`POST /internal/orders/{order_id}/status`."""
    body = await parse_json(request, ServiceStatusChange)
    order_id = request.match_info["order_id"]
    return _facts(await request.app[ORDERS].move(order_id, body.status, body.note, body.event_id))


ROUTES = (
    Route(
        method="GET",
        path=COLLECTION,
        handler=list_all,
        summary="All orders, newest first",
        access=Access.ADMIN,
        query=AllOrdersQuery,
        answers={200: Answer("The orders", OrdersAnswer)},
    ),
    Route(
        method="GET",
        path=COLLECTION + ".csv",
        handler=export,
        summary="All orders as CSV that no spreadsheet takes for formulas",
        access=Access.ADMIN,
        query=AllOrdersQuery,
        answers={200: Answer("The orders", content_type="text/csv")},
    ),
    Route(
        method="PATCH",
        path=COLLECTION + "/{order_id}",
        handler=change,
        summary="Move an order on",
        access=Access.ADMIN,
        body=StatusChange,
        answers={200: Answer("The order", OrderAnswer)},
        refusals=(409,),
    ),
    Route(
        method="GET",
        path=INTERNAL,
        handler=show_to_service,
        summary="Whose an order is, and where it stands",
        access=Access.SERVICE,
        answers={200: Answer("The order", OrderFacts)},
    ),
    Route(
        method="POST",
        path=INTERNAL + "/status",
        handler=change_for_service,
        summary="Tell that an order was paid, or its session expired",
        access=Access.SERVICE,
        body=ServiceStatusChange,
        answers={200: Answer("The order", OrderFacts)},
        refusals=(409,),
    ),
)
