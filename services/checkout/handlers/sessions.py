"""Sessions: opened, asked after, and the image that was bought with one."""

from __future__ import annotations

from aiohttp import web

from services.checkout.handlers.app_keys import CATALOGUE, IDEMPOTENCY, OBJECTS, SERVICE, SETTINGS
from services.checkout.model.sessions import CheckoutSession, ImageState
from services.checkout.schemas import ImageAnswer, SessionAnswer, SessionRequest, StatusAnswer, StatusQuery
from services.checkout.settings import CheckoutSettings
from shared.app.idempotency import Reservation
from shared.app.responses import PRIVATE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.auth.access_tokens import identify, identify_if_any
from shared.clock import rfc3339
from shared.errors import NotAllowedValue, Unauthorized
from shared.http.validation import parse_json, parse_query


async def open_session(request: web.Request) -> web.Response:
    """Sell an image, an order, or the default item."""

    async def work(reservation: Reservation) -> web.Response:
        wanted = await parse_json(request, SessionRequest)
        reservation.check(wanted.model_dump_json().encode())
        if wanted.order_id is not None and (wanted.imageId is not None or wanted.sku is not None):
            raise NotAllowedValue.of(
                "order_id", "order_id: cannot be sent together with imageId or sku.", "order_and_image"
            )
        cart = request.app[CATALOGUE].choose(
            sku=wanted.sku,
            quantity=wanted.quantity,
            currency=wanted.currency.lower(),
            for_order=wanted.order_id is not None,
        )
        user = await identify(request) if wanted.order_id is not None else None
        row = await request.app[SERVICE].opener.open(
            cart, image_id=wanted.imageId, order_id=wanted.order_id, user_id=user.user_id if user else None
        )
        return json_answer(_as_session(row, request.app[SETTINGS]), headers=PRIVATE)

    return await request.app[IDEMPOTENCY].run(request, work)


def _as_session(row: CheckoutSession, settings: CheckoutSettings) -> SessionAnswer:
    return SessionAnswer(
        client_secret=row.client_secret or "",
        session_id=row.session_id or "",
        expires_at=rfc3339(row.expires_at),
        publishable_key=settings.stripe_publishable_key,
        pay_url=f"{settings.pay_page}{row.session_id}" if settings.pay_page else None,
    )


async def _user_if_any(request: web.Request) -> str | None:
    """Return who asks; None for a bad token, so that the answer tells nothing about the session."""
    try:
        principal = await identify_if_any(request)
    except Unauthorized:
        return None
    return principal.user_id if principal else None


async def session_status(request: web.Request) -> web.Response:
    query = parse_query(request, StatusQuery, missing="session_id is required")
    queries = request.app[SERVICE].queries
    row = await queries.status(query.session_id, await _user_if_any(request))
    metadata = {"imageId": row.image_id, "order_id": row.order_id}
    return json_answer(
        StatusAnswer(
            status=row.status,
            metadata={name: value for name, value in metadata.items() if value is not None},
            payment_status=row.payment_status,
            amount_total=row.amount_total if row.charged_amount is None else row.charged_amount,
            currency=row.charged_currency or row.currency,
            order_id=row.order_id,
            image=image_of(row, request.app[SETTINGS].public_url, is_shown=queries.is_shown(row)),
        ),
        headers=PRIVATE,
    )


def image_of(row: CheckoutSession, public_url: str, *, is_shown: bool) -> ImageAnswer | None:
    """Say where the bought image is; its address as long as the payer may fetch it."""
    if row.image_state is ImageState.NONE:
        return None
    if row.image_state is ImageState.PROMOTED:
        url = f"{public_url}/api/checkout/sessions/{row.session_id}/image" if is_shown else None
        return ImageAnswer(state="promoted", url=url)
    return ImageAnswer(state="released" if row.image_state is ImageState.RELEASED else "held", url=None)


async def session_image(request: web.Request) -> web.StreamResponse:
    row = await request.app[SERVICE].queries.image(request.match_info["session_id"])
    async with request.app[OBJECTS].open(row.image_key or "") as image:
        response = web.StreamResponse(
            headers=PRIVATE | {"Content-Disposition": "inline", "Cross-Origin-Resource-Policy": "cross-origin"}
        )
        response.content_type = row.image_type or "application/octet-stream"
        response.content_length = image.facts.size
        await response.prepare(request)
        if request.method != "HEAD":
            async for chunk in image.chunks:
                await response.write(chunk)
        await response.write_eof()
    return response


async def expire_session(request: web.Request) -> web.Response:
    await request.app[SERVICE].opener.expire_for_order(request.match_info["order_id"])
    return web.Response(status=204)


ROUTES = (
    Route(
        method="POST",
        path="/api/checkout/embedded-session",
        handler=open_session,
        summary="Open a session for Stripe's embedded form, or get the open one of the same purchase again",
        body=SessionRequest,
        answers={200: Answer("An open session", SessionAnswer)},
        refusals=(401, 409),
    ),
    Route(
        method="GET",
        path="/api/checkout/session-status",
        handler=session_status,
        summary="How a session stands",
        query=StatusQuery,
        answers={200: Answer("The session", StatusAnswer)},
    ),
    Route(
        method="GET",
        path="/api/checkout/sessions/{session_id}/image",
        handler=session_image,
        summary="The bought image, for 24 hours after the payment",
        answers={200: Answer("The exact bytes that were uploaded", content_type="image/*")},
        refusals=(409,),
    ),
    Route(
        method="POST",
        path="/internal/orders/{order_id}/expire-session",
        handler=expire_session,
        summary="Close the open session of an order",
        access=Access.SERVICE,
    ),
)
