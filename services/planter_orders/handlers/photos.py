"""Photos on their way in, as orders or in the place of one, and on their way out, one by one or all at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from services.planter_orders.handlers.app_keys import IDEMPOTENCY, OBJECTS, ORDERS, RENDERER, SETTINGS, UPLOADING
from services.planter_orders.handlers.orders import caller_of, stream
from services.planter_orders.model.orders import Order
from services.planter_orders.model.photos import Photo, photo_key, thumbnail_key
from services.planter_orders.schemas.answers import FileEntry, UploadAnswer
from services.planter_orders.schemas.requests import FileQuery, PetFields
from services.planter_orders.service.downloads import photos_zip, photos_zip_size
from services.planter_orders.service.uploading import IncomingPhoto, Pet, photo_to_replace
from shared.app.idempotency import Reservation
from shared.app.object_response import EMBEDDABLE, Representation, send_object
from shared.app.responses import JSON_TYPE, NO_STORE, json_answer
from shared.app.routes import Answer, FormBody, Route
from shared.auth.access import Access
from shared.auth.access_tokens import principal_of
from shared.auth.signed_links import cache_control
from shared.errors import NotFound
from shared.http.validation import parse_mapping, parse_query
from shared.uploads import FileField, read_form
from shared.uploads.sinks import SmallFileSink

PHOTOS_FIELD = "files"
MOST_FILES = 4  # what the contract says; the settings may say otherwise
PHOTO_FIELD = "file"
THUMBNAIL_WAIT_S = "2"
CACHE = "private, no-cache"  # a photo of this name never changes, but its order may be deleted


def _content(fields: PetFields, photos: Sequence[IncomingPhoto]) -> list[bytes]:
    """Return what makes two uploads the same, for their Idempotency-Key."""
    parts = [fields.pet_name, fields.pet_type, fields.notes]
    for photo in photos:
        parts += [photo.filename, photo.declared_type, photo.sha256]
    return [b"" if part is None else b"=" + part.encode() for part in parts]


async def _upload(request: web.Request, reservation: Reservation) -> web.Response:
    settings, spool = request.app[SETTINGS], request.app[OBJECTS].spool
    most, missing = settings.max_files_per_order, "No files provided. Please choose a photo."
    field = FileField(PHOTOS_FIELD, settings.max_upload_size, most, missing)
    answer = b""

    def answered(order: Order) -> Any:
        nonlocal answer
        metadata = request.app[RENDERER].metadata(order)
        body = UploadAnswer(order_id=order.id, files_uploaded=len(order.photos), order_metadata=metadata)
        answer = body.model_dump_json().encode()
        return lambda connection: reservation.remember(connection, 200, answer, JSON_TYPE)

    async with read_form(request, field, open_sink=lambda: SmallFileSink(spool), digest=True) as form:
        fields = parse_mapping(form.fields, PetFields)
        reservation.check(*_content(fields, form.files))
        pet = Pet(fields.pet_name, fields.pet_type, fields.notes)
        await request.app[UPLOADING].place(principal_of(request).user_id, pet, form.files, answered)
    return web.Response(body=answer, headers={"Content-Type": JSON_TYPE, **NO_STORE})


async def upload(request: web.Request) -> web.Response:
    return await request.app[IDEMPOTENCY].run(request, partial(_upload, request))


def _not_yet(photo: Photo) -> NotFound:
    if photo.quality is not None:
        return NotFound("This photo has no thumbnail.", "no_thumbnail")
    detail = "The thumbnail is not made yet. Please try again shortly."
    return NotFound(detail, "thumbnail_pending", {"Retry-After": THUMBNAIL_WAIT_S})


async def _send_photo(request: web.Request, order: Order, photo: Photo) -> web.StreamResponse:
    what = Representation(
        key=photo_key(order.user_id, order.id, photo.filename),
        etag=photo.sha256,
        size=photo.size,
        content_type=photo.content_type,
        last_modified=order.created_at,
        cache_control=cache_control(request, CACHE),
    )
    return await send_object(request, request.app[OBJECTS], what)


async def _send_thumbnail(request: web.Request, order: Order, photo: Photo) -> web.StreamResponse:
    facts = await request.app[OBJECTS].stat(thumbnail_key(order.user_id, order.id, photo.filename))
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
    return await send_object(request, request.app[OBJECTS], what)


async def show(request: web.Request) -> web.StreamResponse:
    query = parse_query(request, FileQuery)
    order_id, filename = request.match_info["order_id"], request.match_info["filename"]
    order, photo = await request.app[ORDERS].photo(caller_of(request), order_id, filename)
    return await (_send_photo if query.size is None else _send_thumbnail)(request, order, photo)


def photo_answer(request: web.Request, order: Order, photo: Photo, status: int = 200) -> web.Response:
    return json_answer(request.app[RENDERER].file(order, photo), status=status, headers=NO_STORE)


async def replace(request: web.Request) -> web.Response:
    order = await request.app[ORDERS].show(principal_of(request), request.match_info["order_id"])
    filename = request.match_info["filename"]
    photo_to_replace(order, filename)  # before a byte of the body is read
    spool, max_bytes = request.app[OBJECTS].spool, request.app[SETTINGS].max_upload_size
    field = FileField(PHOTO_FIELD, max_bytes, missing="No file provided. Please choose a photo.")
    async with read_form(request, field, open_sink=lambda: SmallFileSink(spool), digest=True) as form:
        photo = await request.app[UPLOADING].replace(order, filename, form.files[0])
    return photo_answer(request, order, photo)


async def download_all(request: web.Request) -> web.StreamResponse:
    order = await request.app[ORDERS].show(caller_of(request), request.match_info["order_id"])
    headers = {
        hdrs.CONTENT_TYPE: "application/zip",
        hdrs.CONTENT_LENGTH: str(photos_zip_size(order)),
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="order-{order.id}.zip"',
        hdrs.CACHE_CONTROL: CACHE,
        **EMBEDDABLE,
    }
    return await stream(request, photos_zip(request.app[OBJECTS], order), headers)


ROUTES = (
    Route(
        method="POST",
        path="/api/images/upload",
        handler=upload,
        summary="Order a planter: one to four photos of a pet",
        access=Access.TOKEN,
        body=FormBody(fields=PetFields, files={PHOTOS_FIELD: MOST_FILES}),
        answers={200: Answer("The order", UploadAnswer)},
        refusals=(409,),
    ),
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
    Route(
        method="PUT",
        path="/api/images/orders/{order_id}/files/{filename}",
        handler=replace,
        summary="Put another photo in the place of this one",
        access=Access.TOKEN,
        body=FormBody(files={PHOTO_FIELD: 1}),
        answers={200: Answer("The new photo", FileEntry)},
        refusals=(409,),
    ),
    Route(
        method="GET",
        path="/api/images/orders/{order_id}/photos.zip",
        handler=download_all,
        summary="All photos as they were sent, as one ZIP",
        access=Access.TOKEN,
        by_link=True,
        answers={200: Answer("The archive", content_type="application/zip")},
    ),
)
