"""What an admin asks of the images and of the object store."""

from __future__ import annotations

from aiohttp import web

from services.media_store import schemas
from services.media_store.handlers.app_keys import IMAGES, PROBE, PUBLIC_ADDRESSES, SETTINGS
from shared.app.responses import NO_STORE, json_answer
from shared.http.cursors import parse_cursor
from shared.http.validation import parse_query


async def list_images(request: web.Request) -> web.Response:
    query, addresses = parse_query(request, schemas.AdminListQuery), request.app[PUBLIC_ADDRESSES]
    after = parse_cursor(query.cursor) if query.cursor else None
    found, following = await request.app[IMAGES].all_page(
        username=query.username, kind=query.kind, after=after, limit=query.limit
    )
    images = [schemas.KeptImage.of_any(image, image.url or addresses.of(image.key)) for image in found]
    cursor = following.cursor() if following else None
    answer = schemas.KeptImages(images=images, count=len(images), next_cursor=cursor)
    return json_answer(answer, headers=NO_STORE)


async def show_status(request: web.Request) -> web.Response:
    """Say which store is in use, and whether it answers; never with what it is opened."""
    settings, asked = request.app[SETTINGS], await request.app[PROBE].ask()
    in_bucket = settings.storage_backend != "local"
    answer = schemas.StorageStatus(
        backend=settings.storage_backend,
        bucket=settings.bucket.name if in_bucket else None,
        endpoint=settings.bucket.url if in_bucket else None,
        public_domain=settings.public_base_url or None,
        reachable=asked.success,
        answered_in_ms=asked.duration_ms,
    )
    return json_answer(answer, headers=NO_STORE)


async def try_storage(request: web.Request) -> web.Response:
    """Write, read back, compare and delete an object."""
    steps = await request.app[PROBE].run()
    answer = schemas.Probe(
        success=all(step.success for step in steps),
        backend=request.app[SETTINGS].storage_backend,
        steps=[
            schemas.ProbeStep.model_validate(
                {"step": step.name, "success": step.success, "duration_ms": step.duration_ms}
            )
            for step in steps
        ],
    )
    return json_answer(answer, headers=NO_STORE)
