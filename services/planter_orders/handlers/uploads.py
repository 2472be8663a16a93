"""`POST /api/images/upload`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from aiohttp import web

from services.planter_orders.handlers.app_keys import BLOBS, KEYS, RENDERER, SETTINGS, UPLOADING
from services.planter_orders.model.orders import Order
from services.planter_orders.schemas.answers import UploadAnswer
from services.planter_orders.schemas.requests import PetFields
from services.planter_orders.service import IncomingPhoto, Pet
from shared.app.idempotency import Claim
from shared.app.responses import NO_STORE
from shared.app.routes import Answer, FormBody, Route
from shared.auth.access import Access
from shared.auth.access_tokens import principal_of
from shared.http.validation import parse_mapping
from shared.uploads import FileField, SpoolSink, read_form

FIELD = "files"
JSON = "application/json; charset=utf-8"
MOST_FILES = 4  # what the contract says; the settings may say otherwise


def _content(fields: PetFields, photos: Sequence[IncomingPhoto]) -> list[bytes]:
    """Return what makes two uploads the same, for their Idempotency-Key."""
    parts = [fields.pet_name, fields.pet_type, fields.notes]
    for photo in photos:
        parts += [photo.filename, photo.declared_type, photo.sha256]
    return [b"" if part is None else b"=" + part.encode() for part in parts]


async def _upload(request: web.Request, claim: Claim) -> web.Response:
    settings, spool = request.app[SETTINGS], request.app[BLOBS].spool
    field = FileField(
        FIELD, settings.max_upload_size, settings.max_files_per_order, "No files provided. Please choose a photo."
    )
    answer = b""

    def answered(order: Order) -> Any:
        nonlocal answer
        metadata = request.app[RENDERER].metadata(order)
        answer = (
            UploadAnswer(order_id=order.id, files_uploaded=len(order.photos), order_metadata=metadata)
            .model_dump_json()
            .encode()
        )
        return partial(_remember, claim, answer)

    async with read_form(request, field, open_sink=lambda: SpoolSink(spool), digest=True) as form:
        fields = parse_mapping(form.fields, PetFields)
        claim.check(*_content(fields, form.files))
        pet = Pet(fields.pet_name, fields.pet_type, fields.notes)
        await request.app[UPLOADING].place(principal_of(request).user_id, pet, form.files, answered)
    return web.Response(body=answer, headers={"Content-Type": JSON, **NO_STORE})


async def _remember(claim: Claim, answer: bytes, connection: Any) -> None:
    await claim.remember(connection, 200, answer, JSON)


async def upload(request: web.Request) -> web.Response:
    """`POST /api/images/upload`."""
    return await request.app[KEYS].run(request, partial(_upload, request))


ROUTES = (
    Route(
        method="POST",
        path="/api/images/upload",
        handler=upload,
        summary="Order a planter: one to four photos of a pet",
        access=Access.TOKEN,
        body=FormBody(fields=PetFields, files={FIELD: MOST_FILES}),
        answers={200: Answer("The order", UploadAnswer)},
        refusals=(409,),
    ),
)
