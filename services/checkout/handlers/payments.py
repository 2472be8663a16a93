"""Stripe's events, and what an admin does with payments."""

from __future__ import annotations

from aiohttp import web

from services.checkout.adapters.stripe import is_signed, parse_event
from services.checkout.handlers.app_keys import SERVICE, SETTINGS
from services.checkout.schemas import RefundAnswer, RefundRequest, WebhookAnswer
from shared.app.responses import PRIVATE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.errors import BadRequest, NotAllowedValue
from shared.http.body import MIB, read_bytes
from shared.http.validation import parse_json


async def webhook(request: web.Request) -> web.Response:
    payload = await read_bytes(request, max_bytes=MIB)
    secrets = request.app[SETTINGS].stripe_webhook_secret
    if not is_signed(payload, request.headers.get("Stripe-Signature", ""), secrets):
        raise BadRequest("The event is not signed as it must be.", "webhook_not_accepted")
    if (event := parse_event(payload)) is not None:
        await request.app[SERVICE].webhooks.take(event)
    return json_answer(WebhookAnswer(received=True), headers=PRIVATE)


async def refund(request: web.Request) -> web.Response:
    wanted = await parse_json(request, RefundRequest)
    if wanted.session_id is None and wanted.order_id is None:
        raise BadRequest.of("session_id", "session_id or order_id is required.", "missing_field")
    if wanted.session_id is not None and wanted.order_id is not None:
        raise NotAllowedValue.of("order_id", "order_id: cannot be sent together with session_id.", "session_and_order")
    refunds = request.app[SERVICE].refunds
    row, made = await refunds.refund(**wanted.model_dump())
    answer = RefundAnswer(
        refund_id=made.refund_id or "",
        status=made.status,
        amount=made.amount,
        currency=made.currency,
        session_id=row.session_id or "",
    )
    response = json_answer(answer, headers=PRIVATE)
    # Only an answer that went out ends this refund: whoever lost it asks again, and must not give back twice.
    await response.prepare(request)
    await response.write_eof()
    await refunds.refunds.answered(made.id)
    return response


ROUTES = (
    Route(
        method="POST",
        path="/api/checkout/webhook",
        handler=webhook,
        summary="Stripe's events, signed",
        answers={200: Answer("Taken", WebhookAnswer)},
    ),
    Route(
        method="POST",
        path="/api/checkout/refunds",
        handler=refund,
        summary="Give back a payment, or a part of it",
        access=Access.ADMIN,
        body=RefundRequest,
        answers={200: Answer("The refund", RefundAnswer)},
        refusals=(409,),
    ),
)
