"""Serving images and their renditions, by id and by key."""

from __future__ import annotations

from aiohttp import hdrs, web

from services.media_store import schemas
from services.media_store.handlers.app_keys import IMAGES, OBJECTS, RENDITIONS, SETTINGS
from services.media_store.handlers.images import public_key_of, require_reader
from services.media_store.model.images import PUBLIC, TEMP_PREFIX, Kind, StoredImage, parse_image_id, path_of
from shared.app.object_response import EMBEDDABLE, Representation, send_object
from shared.app.responses import NO_STORE, json_answer
from shared.auth.signed_links import cache_control
from shared.http.conditional_requests import prefers_webp
from shared.http.validation import parse_query
from shared.images.validation import accepted_formats, sniff

A_YEAR_S = 365 * 86400
OWNERS_ONLY = "private, no-store"
# The form that put it there may be sent again, promotion turns it into a redirect, and deletion ends that.
TEMPORARY = "public, max-age=300"


async def serve_user_image(request: web.Request) -> web.StreamResponse:
    """Send a user's image, found by its id."""
    query = parse_query(request, schemas.WidthQuery)
    return await _show(request, await request.app[IMAGES].get(parse_image_id(request.match_info["id"])), query.w)


async def serve_object(request: web.Request) -> web.StreamResponse:
    """Send a public object, found by its key."""
    query = parse_query(request, schemas.WidthQuery)
    key = public_key_of(request, PUBLIC)
    if not key.startswith(TEMP_PREFIX):
        image = await request.app[IMAGES].find(key)
        if image.url is None:
            return await _show(request, image, query.w)
        return web.Response(status=307, headers={hdrs.LOCATION: image.url, hdrs.CACHE_CONTROL: TEMPORARY, **EMBEDDABLE})
    promoted = await request.app[IMAGES].promoted_from(key)
    if promoted is None:
        return await _show_temporary(request, key, query.w)
    location = f"/media/{path_of(promoted.key)}" + (f"?w={query.w}" if query.w else "")
    headers = {hdrs.LOCATION: location, hdrs.CACHE_CONTROL: TEMPORARY, **EMBEDDABLE}
    return web.Response(status=307, headers=headers)


async def delete_object(request: web.Request) -> web.Response:
    await request.app[IMAGES].delete_object(public_key_of(request, PUBLIC))
    return json_answer(schemas.Done(message="Image deleted successfully"), headers=NO_STORE)


async def _show(request: web.Request, image: StoredImage, width: str | None) -> web.StreamResponse:
    is_private = image.kind is Kind.USER and not request.app[SETTINGS].media_public_read
    if image.username is not None:
        await require_reader(request, image.name)
    left_s = request.app[IMAGES].left_s(image)
    for_good = f"public, max-age={A_YEAR_S if left_s is None else min(A_YEAR_S, left_s)}, immutable"
    what = Representation(
        key=image.key,
        etag=image.sha256,
        size=image.size,
        content_type=image.content_type,
        last_modified=image.uploaded_at,
        cache_control=cache_control(request, OWNERS_ONLY) if is_private else for_good,
        vary=(hdrs.AUTHORIZATION,) if is_private else (),
    )
    return await _send(request, what, width)


async def _show_temporary(request: web.Request, key: str, width: str | None) -> web.StreamResponse:
    objects = request.app[OBJECTS]
    async with objects.open(key, length=64) as reader:
        head, facts = await reader.read(), reader.facts
    image_format = sniff(head)
    if image_format not in accepted_formats(heic=request.app[SETTINGS].heic_uploads == "on"):
        image_format = None
    what = Representation(
        key=key,
        etag=facts.etag,
        size=facts.size,
        content_type=image_format.content_type if image_format else "application/octet-stream",
        last_modified=facts.last_modified,
        cache_control=TEMPORARY,
        download=image_format is None,
    )
    return await _send(request, what, width)


async def _send(request: web.Request, what: Representation, width: str | None) -> web.StreamResponse:
    """Send the original, or the rendition that the client can show."""
    if width is None:
        return await send_object(request, request.app[OBJECTS], what)
    webp = prefers_webp(request)
    rendition = await request.app[RENDITIONS].get(
        what.key, what.etag, max_width=int(width), image_format="webp" if webp else "jpeg"
    )
    made = Representation(
        key=rendition.key,
        etag=f"{what.etag}-w{width}-{'webp' if webp else 'jpeg'}",
        size=rendition.size,
        content_type="image/webp" if webp else "image/jpeg",
        last_modified=what.last_modified,
        cache_control=what.cache_control,
        vary=(*what.vary, hdrs.ACCEPT),
    )
    return await send_object(request, request.app[OBJECTS], made)
