"""An order's photos, and their thumbnails."""

from __future__ import annotations

from aiohttp import hdrs, web

from services.planter_orders.handlers.keys import BLOBS, ORDERS
from services.planter_orders.model.layout import photo_key, thumbnail_key
from services.planter_orders.model.orders import Order, Photo
from services.planter_orders.schemas import FileQuery
from shared.answers import FileAnswer
from shared.blobs import ObjectNotFound
from shared.errors import NotFound
from shared.parsing import parse_query
from shared.routes import Access, Answer, Route
from shared.tokens import principal_of

THUMBNAIL_WAIT_S = "2"


def _not_yet(photo: Photo) -> NotFound:
    if photo.quality is not None:
        return NotFound("This photo has no thumbnail.", "no_thumbnail")
    sentence = "The thumbnail is not made yet. Please try again shortly."
    return NotFound(sentence, "thumbnail_pending", {"Retry-After": THUMBNAIL_WAIT_S})


def _headers(filename: str, content_type: str) -> dict[str, str]:
    return {
        hdrs.CONTENT_TYPE: content_type,
        hdrs.CONTENT_DISPOSITION: f'inline; filename="{filename}"',  # a name of ours: nothing in it needs quoting
        hdrs.CACHE_CONTROL: "private, no-cache",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


async def _send(request: web.Request, key: str, headers: dict[str, str]) -> web.StreamResponse:
    """Send an object: a file by sendfile, another one as its bytes come. Raises ObjectNotFound."""
    blobs = request.app[BLOBS]
    if (path := blobs.local_path(key)) is not None:
        if await blobs.stat(key) is None:
            raise ObjectNotFound
        return FileAnswer(path, headers=headers)
    async with blobs.open(key) as found:
        headers[hdrs.ETAG] = f'"{found.facts.etag}"'
        if request.headers.get(hdrs.IF_NONE_MATCH) == headers[hdrs.ETAG]:
            return web.Response(status=304, headers=headers)
        response = web.StreamResponse(headers=headers)
        response.content_length = found.facts.size
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            async for chunk in found.chunks:
                await response.write(chunk)
        await response.write_eof()
        return response


async def _thumbnail(request: web.Request, order: Order, photo: Photo) -> web.StreamResponse:
    name = f"{photo.filename.rpartition('.')[0]}_thumb.webp"
    try:
        return await _send(
            request, thumbnail_key(order.user_id, order.id, photo.filename), _headers(name, "image/webp")
        )
    except ObjectNotFound:
        raise _not_yet(photo) from None


async def show(request: web.Request) -> web.StreamResponse:
    """`GET /api/images/orders/{order_id}/files/{filename}`."""
    query = parse_query(request, FileQuery)
    order_id, filename = request.match_info["order_id"], request.match_info["filename"]
    order, photo = await request.app[ORDERS].photo(principal_of(request), order_id, filename)
    if query.size is not None:
        return await _thumbnail(request, order, photo)
    key = photo_key(order.user_id, order.id, photo.filename)
    return await _send(request, key, _headers(photo.filename, photo.content_type))


ROUTES = (
    Route(
        method="GET",
        path="/api/images/orders/{order_id}/files/{filename}",
        handler=show,
        summary="A photo as it was sent, or its thumbnail",
        access=Access.TOKEN,
        query=FileQuery,
        answers={200: Answer("The photo", content_type="image/*")},
    ),
)
