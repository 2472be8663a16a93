"""What admins do (all orders, as JSON and as CSV, and their moves), and what other services ask of orders."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from aiohttp import hdrs, web

from services.planter_orders.handlers.app_keys import DELIVERIES, ORDERS, RENDERER
from services.planter_orders.handlers.orders import list_orders, place_of, stream
from services.planter_orders.handlers.photos import photo_answer
from services.planter_orders.model.orders import Order
from services.planter_orders.model.photos import photo_named
from services.planter_orders.schemas.answers import (
    DeliveriesAnswer,
    DeliveryCounts,
    DeliveryEntry,
    FileEntry,
    OldestPaid,
    OrderAnswer,
    OrderFacts,
    OrdersAnswer,
    SummaryAnswer,
)
from services.planter_orders.schemas.requests import (
    AllOrdersQuery,
    DeliveriesQuery,
    PhotoRequestBody,
    ServiceStatusChange,
    StatusChange,
)
from services.planter_orders.service.downloads import csv_row
from shared.app.responses import NO_STORE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.clock import rfc3339
from shared.http.validation import parse_json, parse_query

COLLECTION = "/api/admin/orders"
DELIVERIES_PATH = "/api/admin/deliveries"
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


async def list_all(request: web.Request) -> web.StreamResponse:
    query = parse_query(request, AllOrdersQuery)
    return await list_orders(request, query, query.wanted())


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


def _rows(orders: Iterable[Order]) -> bytes:
    return "".join(map(_row, orders)).encode()


async def export(request: web.Request) -> web.StreamResponse:
    query = parse_query(request, AllOrdersQuery)
    wanted, after, service = query.wanted(), place_of(query), request.app[ORDERS]

    async def parts() -> AsyncGenerator[bytes, None]:
        yield (BYTE_ORDER_MARK + csv_row(COLUMNS)).encode()
        if query.limit is not None:
            yield _rows((await service.page(wanted, after, query.limit))[0])
            return
        async with aclosing(service.pages(wanted, after)) as pages:
            async for page in pages:
                yield _rows(page)

    headers = {
        hdrs.CONTENT_TYPE: "text/csv; charset=utf-8; header=present",
        hdrs.CONTENT_DISPOSITION: 'attachment; filename="orders.csv"',
        **NO_STORE,
    }
    return await stream(request, parts(), headers)


async def change(request: web.Request) -> web.Response:
    body = await parse_json(request, StatusChange)
    order = await request.app[ORDERS].move(request.match_info["order_id"], body.status, body.note)
    return json_answer(OrderAnswer(order=request.app[RENDERER].order(order)), headers=NO_STORE)


async def request_photo(request: web.Request) -> web.Response:
    body = await parse_json(request, PhotoRequestBody)
    order_id = request.match_info["order_id"]
    order = await request.app[ORDERS].request_photo(order_id, body.filename, body.reason, body.note)
    return photo_answer(request, order, photo_named(order.photos, body.filename), status=201)


async def withdraw_request(request: web.Request) -> web.Response:
    filename = request.match_info["filename"]
    order = await request.app[ORDERS].withdraw_request(request.match_info["order_id"], filename)
    return photo_answer(request, order, photo_named(order.photos, filename))


async def summarize(request: web.Request) -> web.Response:
    summary = await request.app[ORDERS].orders.summary()
    oldest = summary.oldest_paid
    answer = SummaryAnswer(
        orders=dict(summary.orders),
        oldest_paid=None if oldest is None else OldestPaid(order_id=oldest[0], at=oldest[1]),
        photo_requests=summary.photo_requests,
        deliveries=DeliveryCounts(pending=summary.pending_deliveries, failed=summary.failed_deliveries),
    )
    return json_answer(answer, headers=NO_STORE)


async def list_deliveries(request: web.Request) -> web.Response:
    query = parse_query(request, DeliveriesQuery)
    before = None if query.cursor is None else int(query.cursor)
    deliveries, following = await request.app[DELIVERIES].page(query.state, before, query.limit)
    answer = DeliveriesAnswer(
        deliveries=[DeliveryEntry.of(delivery) for delivery in deliveries],
        next_cursor=None if following is None else str(following),
    )
    return json_answer(answer, headers=NO_STORE)


async def resend(request: web.Request) -> web.Response:
    delivery = await request.app[DELIVERIES].resend(request.match_info["id"])
    return json_answer(DeliveryEntry.of(delivery), status=202, headers=NO_STORE)


def _facts(order: Order) -> web.Response:
    return json_answer(OrderFacts(order_id=order.id, user_id=order.user_id, status=order.status), headers=NO_STORE)


async def show_to_service(request: web.Request) -> web.Response:
    return _facts(await request.app[ORDERS].find(request.match_info["order_id"]))


async def change_for_service(request: web.Request) -> web.Response:
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
        method="POST",
        path=COLLECTION + "/{order_id}/photo-requests",
        handler=request_photo,
        summary="Ask the customer for a better photo",
        access=Access.ADMIN,
        body=PhotoRequestBody,
        answers={201: Answer("The photo", FileEntry)},
        refusals=(409,),
    ),
    Route(
        method="DELETE",
        path=COLLECTION + "/{order_id}/photo-requests/{filename}",
        handler=withdraw_request,
        summary="Ask no more for a better photo",
        access=Access.ADMIN,
        answers={200: Answer("The photo", FileEntry)},
    ),
    Route(
        method="GET",
        path="/api/admin/summary",
        handler=summarize,
        summary="What there is to do",
        access=Access.ADMIN,
        answers={200: Answer("The numbers", SummaryAnswer)},
    ),
    Route(
        method="GET",
        path=DELIVERIES_PATH,
        handler=list_deliveries,
        summary="Outgoing webhooks, newest first",
        access=Access.ADMIN,
        query=DeliveriesQuery,
        answers={200: Answer("The deliveries", DeliveriesAnswer)},
    ),
    Route(
        method="POST",
        path=DELIVERIES_PATH + "/{id}/resend",
        handler=resend,
        summary="Send an outgoing webhook again",
        access=Access.ADMIN,
        answers={202: Answer("The delivery", DeliveryEntry)},
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
