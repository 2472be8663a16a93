"""An order's photos, and their thumbnails."""

from __future__ import annotations

from aiohttp import web

from services.planter_orders.handlers.app_keys import BLOBS, ORDERS
from services.planter_orders.handlers.orders import caller_of
from services.planter_orders.model.object_keys import photo_key, thumbnail_key
from services.planter_orders.model.orders import Order, Photo
from services.planter_orders.schemas import FileQuery
from shared.app.object_response import Representation, send_object
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.auth.signed_links import cache_control
from shared.errors import NotFound
from shared.http.validation import parse_query

THUMBNAIL_WAIT_S = "2"
CACHE = "private, no-cache"  # a photo of this name never changes, but its order may be deleted


def _not_yet(photo: Photo) -> NotFound:
    if photo.quality is not None:
        return NotFound("This photo has no thumbnail.", "no_thumbnail")
    sentence = "The thumbnail is not made yet. Please try again shortly."
    return NotFound(sentence, "thumbnail_pending", {"Retry-After": THUMBNAIL_WAIT_S})


async def _send_photo(request: web.Request, order: Order, photo: Photo) -> web.StreamResponse:
    what = Representation(
        key=photo_key(order.user_id, order.id, photo.filename),
        etag=photo.sha256,
        size=photo.size,
        content_type=photo.content_type,
        last_modified=order.created_at,
        cache_control=cache_control(request, CACHE),
    )
    return await send_object(request, request.app[BLOBS], what)


async def _send_thumbnail(request: web.Request, order: Order, photo: Photo) -> web.StreamResponse:
    facts = await request.app[BLOBS].stat(thumbnail_key(order.user_id, order.id, photo.filename))
    if facts is None:
        raise _not_yet(photo)
    what = Representation(
        key=facts.key,
        etag=facts.etag,
        size=facts.size,
        content_type="image/webp",
        last_modified=facts.last_modified,
        cache_control=cache_control(request, CACHE),
    )
    return await send_object(request, request.app[BLOBS], what)


async def show(request: web.Request) -> web.StreamResponse:
    """`GET /api/images/orders/{order_id}/files/{filename}`."""
    query = parse_query(request, FileQuery)
    order_id, filename = request.match_info["order_id"], request.match_info["filename"]
    order, photo = await request.app[ORDERS].photo(caller_of(request), order_id, filename)
    return await (_send_photo if query.size is None else _send_thumbnail)(request, order, photo)


ROUTES = (
    Route(
        method="GET",
        path="/api/images/orders/{order_id}/files/{filename}",
        handler=show,
        summary="A photo as it was sent, or its thumbnail",
        access=Access.TOKEN,
        by_link=True,
        query=FileQuery,
        refusals=(412, 416),
        answers={200: Answer("The photo", content_type="image/*")},
    ),
)
