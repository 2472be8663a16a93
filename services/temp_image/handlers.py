"""What each call does, from the request to the answer."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from services.temp_image.deliver import (
    send_and_settle,
    send_description,
    send_for_gateway,
    send_image,
)
from services.temp_image.model import parse_claim, parse_holder, parse_image_id
from services.temp_image.schemas import Held, HoldRequest, RetrieveQuery, Uploaded
from services.temp_image.service import TempImageService
from shared.app.idempotency_key import key_of
from shared.app.responses import PRIVATE, PRIVATE_JSON, WholeAnswer
from shared.app.routes import Answer, FormBody, Route
from shared.auth.access import Access
from shared.auth.access_tokens import GATEWAY_HEADER, SERVICE_GUARD
from shared.clock import rfc3339
from shared.errors import Forbidden, Unauthorized
from shared.http.validation import parse_json, parse_query
from shared.uploads import FileField, find_whole_file, read_form

SERVICE: Final = web.AppKey("SERVICE", TempImageService)
IMAGE_FIELD: Final = web.AppKey("IMAGE_FIELD", FileField)
SHORTEST_KEY_CHARS = 16  # a shorter Idempotency-Key could be guessed, and with it the image
PURPOSE_HEADERS = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
GUESSES = frozenset({"prefetch", "prerender", "preview"})


async def upload(request: web.Request) -> WholeAnswer:
    """Keep the form's image; answer its id."""
    app = request.app
    image_id, expires_at = await _keep_upload(request, app[SERVICE], app[IMAGE_FIELD])
    expires = rfc3339(datetime.fromtimestamp(expires_at, UTC))
    # An `Uploaded`, written by hand: to make and write the model takes a tenth of an upload's time.
    return WholeAnswer(f'{{"imageId":"{image_id}","expiresAt":"{expires}"}}'.encode(), PRIVATE_JSON)


async def _keep_upload(request: web.Request, service: TempImageService, field: FileField) -> tuple[str, float]:
    """Read the form and keep its file; return the image's id, and when it expires in seconds since the epoch."""
    key = key_of(request) or ""
    has_key = len(key) >= SHORTEST_KEY_CHARS
    if not has_key and (file := find_whole_file(request, field)) is not None:
        return await service.keep(file)
    async with AsyncExitStack() as stack:
        keep = await stack.enter_async_context(service.keeping(key)) if has_key else service.keep
        reading = read_form(request, field, open_sink=service.open_sink, digest=has_key)
        form = await stack.enter_async_context(reading)
        return await keep(form.files[0])


async def retrieve(request: web.Request) -> web.StreamResponse:
    """Hand the image out, once."""
    query = parse_query(request, RetrieveQuery, missing="imageId required")
    if _is_prefetch(request):
        raise Forbidden("This image is handed out once, so it cannot be prefetched.", "prefetch_refused", PRIVATE)
    service, image_id = request.app[SERVICE], parse_image_id(query.image_id)
    if request.method == "HEAD":
        return await send_description(request, await service.describe(image_id))
    send = send_for_gateway if _is_from_gateway(request) else send_and_settle
    claim, image = await service.claim(image_id)
    return await send(request, image_id, claim, image, service)


def _is_prefetch(request: web.Request) -> bool:
    """Tell whether a browser only guesses that it will need the image (Fetch, `Sec-Purpose`; the others came before it)."""
    purposes = (purpose for name in PURPOSE_HEADERS for purpose in request.headers.getall(name, ()))
    items = (item for purpose in purposes for item in purpose.replace(";", ",").split(","))
    return any(item.strip().lower() in GUESSES for item in items)


def _is_from_gateway(request: web.Request) -> bool:
    """Tell whether the gateway settles the claim; raises Unauthorized where the header's token is not the gateway's."""
    token = request.headers.get(GATEWAY_HEADER)
    if token is None:
        return False
    if request.app[SERVICE_GUARD].require(token) != "gateway":
        raise Unauthorized(invalid=True)
    return True


def _claim_of(request: web.Request) -> tuple[str, str]:
    return parse_image_id(request.match_info["image_id"]), parse_claim(request.match_info["claim"])


async def confirm(request: web.Request) -> WholeAnswer:
    await request.app[SERVICE].confirm(*_claim_of(request))
    return WholeAnswer(b"", {}, status=204)


async def release(request: web.Request) -> WholeAnswer:
    await request.app[SERVICE].release(*_claim_of(request))
    return WholeAnswer(b"", {}, status=204)


async def renew(request: web.Request) -> WholeAnswer:
    """Let a claim stand for another 30 s."""
    await request.app[SERVICE].renew(*_claim_of(request))
    return WholeAnswer(b"", {}, status=204)


def _hold_of(request: web.Request) -> tuple[str, str]:
    return parse_image_id(request.match_info["image_id"]), parse_holder(request.match_info["holder"])


async def hold(request: web.Request) -> web.Response:
    """Hold an image, or move a hold's end."""
    wanted = await parse_json(request, HoldRequest)
    held = await request.app[SERVICE].hold(*_hold_of(request), wanted.until.timestamp())
    answer = Held(content_type=held.content_type, size=held.size)
    return web.Response(text=answer.model_dump_json(), content_type="application/json", headers=PRIVATE)


async def release_hold(request: web.Request) -> WholeAnswer:
    """End a hold, whether or not there is one."""
    await request.app[SERVICE].release_hold(*_hold_of(request))
    return WholeAnswer(b"", {}, status=204)


async def read_held(request: web.Request) -> web.StreamResponse:
    return await send_image(request, await request.app[SERVICE].read_held(*_hold_of(request)))


_CLAIM = "/internal/claims/{image_id}/{claim}"
_HOLD = "/internal/holds/{image_id}/{holder}"

ROUTES = (
    Route(
        method="POST",
        path="/api/temp-image-upload",
        handler=upload,
        summary="Keep an image for an hour, under an id that only the uploader knows",
        body=FormBody(files={"image": 1}),
        answers={200: Answer("Kept", Uploaded)},
        refusals=(409,),
    ),
    Route(
        method="GET",
        path="/api/temp-image-retrieve",
        handler=retrieve,
        summary="Get the image back, once",
        query=RetrieveQuery,
        answers={200: Answer("The exact bytes that were uploaded", content_type="image/*")},
        refusals=(403,),
    ),
    *(
        Route(method="POST", path=f"{_CLAIM}/{name}", handler=handler, summary=summary, access=Access.SERVICE)
        for name, handler, summary in (
            ("confirm", confirm, "The claimed image was delivered"),
            ("release", release, "The claimed image was not delivered"),
            ("renew", renew, "The claimed image is still being delivered"),
        )
    ),
    Route(method="PUT", path=_HOLD, handler=hold, summary="Hold an image", access=Access.SERVICE, body=HoldRequest),
    Route(method="DELETE", path=_HOLD, handler=release_hold, summary="End a hold", access=Access.SERVICE),
    Route(method="GET", path=f"{_HOLD}/bytes", handler=read_held, summary="What is held", access=Access.SERVICE),
)

__all__ = ["IMAGE_FIELD", "ROUTES", "SERVICE"]
