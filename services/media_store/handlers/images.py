"""Uploading, listing, choosing and deleting images."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from aiohttp import web

from services.media_store import schemas
from services.media_store.handlers.app_keys import IDEMPOTENCY, IMAGES, INGEST, PUBLIC_ADDRESSES, SETTINGS
from services.media_store.model.images import ImageNotFound, ImageType, parse_image_id, parse_purpose
from services.media_store.model.names import MAX_USERNAME, is_username, require_owner
from services.media_store.service.images import UserImage
from shared.app.idempotency import Reservation
from shared.app.responses import JSON_TYPE, NO_STORE, PRIVATE, json_answer
from shared.auth.access_tokens import identify, principal_of
from shared.auth.signed_links import check_link
from shared.errors import BadRequest, NotFound
from shared.http.cursors import parse_cursor
from shared.http.validation import parse_mapping, parse_query
from shared.names import CANNOT_BE_CARRIED
from shared.objects import require_key
from shared.uploads import FileField, Form, read_form

MISSING = "Missing required fields"


@asynccontextmanager
async def _form(request: web.Request, missing: str, reservation: Reservation) -> AsyncIterator[Form[bytes | Path]]:
    """Read the form; where the request has an Idempotency-Key, its content is known with the last byte."""
    field, has_key = FileField("image", request.app[SETTINGS].max_upload_size, missing=missing), reservation.scope != ""
    async with read_form(request, field, open_sink=request.app[INGEST].open_sink, digest=has_key) as form:
        if has_key:
            file, said = form.files[0], sorted(form.fields.items())
            reservation.check(json.dumps([said, file.filename, file.declared_type, file.sha256]).encode())
        yield form


async def store_image(request: web.Request) -> web.Response:
    """Keep an image of a session, anonymously."""
    if request.app[SETTINGS].store_image_require_auth:
        await identify(request)
    return await request.app[IDEMPOTENCY].run(request, partial(_store_image, request))


async def _store_image(request: web.Request, reservation: Reservation) -> web.Response:
    async with _form(request, "No image provided", reservation) as form:
        said = parse_mapping(form.fields, schemas.StoreForm)
        session_id = said.session_id or uuid.uuid4().hex
        purpose = parse_purpose(form.fields.get("purpose", said.purpose))  # an empty one is not an absent one
        image = await request.app[IMAGES].store(form.files[0], session_id, purpose)
    answer = schemas.Stored(
        url=image.url or request.app[PUBLIC_ADDRESSES].of(image.key),
        key=image.key,
        session_id=session_id,
        width=image.width,
        height=image.height,
        size=image.size,
        content_type=image.content_type,
        **image.how_made,
    )
    return json_answer(answer, headers=PRIVATE)


async def upload_user_image(request: web.Request) -> web.Response:
    return await request.app[IDEMPOTENCY].run(request, partial(_upload_user_image, request))


async def _upload_user_image(request: web.Request, reservation: Reservation) -> web.Response:
    async with _form(request, MISSING, reservation) as form:
        said = parse_mapping(form.fields, schemas.UserImageForm, missing=MISSING)
        if not is_username(said.username):
            raise BadRequest.of(
                "username",
                f"A username has 1 to {MAX_USERNAME} characters and no dot first; it {CANNOT_BE_CARRIED}.",
                "invalid_username",
            )
        if said.image_type not in set(ImageType):
            raise BadRequest.of(
                "image_type", f"The image_type must be one of {', '.join(ImageType)}.", "invalid_image_type"
            )
        about = UserImage(said.username, said.image_type, said.is_primary.lower() == "true", said.caption)
        image = await request.app[IMAGES].upload(form.files[0], about, principal_of(request))
    shown = schemas.UserImage.of(image, request.app[PUBLIC_ADDRESSES].of(image.key))
    return json_answer(schemas.Uploaded(image=shown), headers=NO_STORE)


async def require_reader(request: web.Request, username: str) -> None:
    """Let everybody read a user's images, or only their owner and admins, as the setting says.

    What a path shows by itself, a signed link opens too.
    """
    if not request.app[SETTINGS].media_public_read and not check_link(request):
        require_owner(await identify(request), username, await request.app[IMAGES].owner_of(username))


async def list_user_images(request: web.Request) -> web.Response:
    username, query = request.match_info["username"], parse_query(request, schemas.ListQuery)
    after = parse_cursor(query.cursor) if query.cursor else None
    if not is_username(username):
        raise NotFound("Nobody can have this username.", "user_not_found")
    await require_reader(request, username)
    service, addresses, following = request.app[IMAGES], request.app[PUBLIC_ADDRESSES], None
    if query.limit is None:
        found = await service.all_of(username, image_type=query.image_type, after=after)
    else:
        found, following = await service.page(username, image_type=query.image_type, after=after, limit=query.limit)
    images = [schemas.UserImage.of(image, addresses.of(image.key)) for image in found]
    cursor = following.cursor() if following else None
    answer = schemas.UserImages(images=images, count=len(images), next_cursor=cursor)
    return web.Response(
        body=answer.model_dump_json(exclude_none=True).encode(),
        headers={"Content-Type": JSON_TYPE, **NO_STORE},
    )


async def delete_user_image(request: web.Request) -> web.Response:
    await request.app[IMAGES].delete_of_user(parse_image_id(request.match_info["id"]), principal_of(request))
    return json_answer(schemas.Done(message="Image deleted successfully"), headers=NO_STORE)


async def set_primary(request: web.Request) -> web.Response:
    await request.app[IMAGES].set_primary(parse_image_id(request.match_info["id"]), principal_of(request))
    return json_answer(schemas.Done(message="Primary image updated successfully"), headers=NO_STORE)


def public_key_of(request: web.Request, prefixes: tuple[str, ...]) -> str:
    """Return the key in the path, which must begin with one of the prefixes. Raises ImageNotFound."""
    key = require_key(request.match_info["key"].removesuffix("/"))
    if not key.startswith(prefixes):
        raise ImageNotFound
    return key
