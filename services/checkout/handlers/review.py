"""What the shop's owner does with payments: looking through them, and deciding about those that need review."""

from __future__ import annotations

from aiohttp import web

from services.checkout.handlers.app_keys import SERVICE, SETTINGS
from services.checkout.handlers.sessions import image_of
from services.checkout.model.sessions import CheckoutSession
from services.checkout.schemas import PaymentEntry, PaymentsAnswer, PaymentsQuery, ResolutionEntry, ResolveRequest
from services.checkout.service.review import PaymentsPage
from shared.app.responses import PRIVATE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.auth.access_tokens import principal_of
from shared.clock import rfc3339
from shared.http.cursors import parse_cursor
from shared.http.validation import parse_json, parse_query


def _entries(request: web.Request, page: PaymentsPage) -> list[PaymentEntry]:
    queries, public_url = request.app[SERVICE].queries, request.app[SETTINGS].public_url

    def entry(row: CheckoutSession) -> PaymentEntry:
        return PaymentEntry(
            session_id=row.session_id or "",
            state=row.shown_state,
            payment_status=row.payment_status,
            amount_total=row.amount_total if row.charged_amount is None else row.charged_amount,
            amount_refunded=row.refunded_amount,
            currency=row.charged_currency or row.currency,
            sku=row.sku,
            quantity=row.quantity,
            order_id=row.order_id,
            image=image_of(row, public_url, is_shown=queries.is_shown(row)),
            created_at=rfc3339(row.created_at),
            paid_at=None if row.paid_at is None else rfc3339(row.paid_at),
            review_reason=row.review_reason,
            resolutions=[
                ResolutionEntry(action=one.action, note=one.note, reason=one.reason, by=one.by, at=rfc3339(one.at))
                for one in page.resolutions.get(row.id, ())
            ],
        )

    return [entry(row) for row in page.rows]


async def list_payments(request: web.Request) -> web.Response:
    query = parse_query(request, PaymentsQuery)
    after = None if query.cursor is None else parse_cursor(query.cursor)
    page = await request.app[SERVICE].review.page(query.state, after, query.limit)
    payments = _entries(request, page)
    following = None if page.following is None else page.following.cursor()
    return json_answer(PaymentsAnswer(payments=payments, count=len(payments), next_cursor=following), headers=PRIVATE)


async def resolve_payment(request: web.Request) -> web.Response:
    """Fulfil a payment that needs review, or give it back."""
    wanted = await parse_json(request, ResolveRequest)
    page = await request.app[SERVICE].review.resolve(
        request.match_info["session_id"], wanted.action, note=wanted.note, by=principal_of(request).username
    )
    return json_answer(_entries(request, page)[0], headers=PRIVATE)


ROUTES = (
    Route(
        method="GET",
        path="/api/admin/payments",
        handler=list_payments,
        summary="All payments, newest first; of one state, such as those that need review",
        access=Access.ADMIN,
        query=PaymentsQuery,
        answers={200: Answer("A page of payments", PaymentsAnswer)},
    ),
    Route(
        method="POST",
        path="/api/admin/payments/{session_id}/resolve",
        handler=resolve_payment,
        summary="Fulfil a payment that needs review, or give it back",
        access=Access.ADMIN,
        body=ResolveRequest,
        answers={200: Answer("The payment as it is now", PaymentEntry)},
        refusals=(409,),
    ),
)
