"""Temporary uploads of organisations: signing, receiving the form where no bucket does, promoting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import hdrs, web

from services.media_store import schemas
from services.media_store.handlers.app_keys import OBJECTS, PUBLIC_ADDRESSES, SETTINGS, UPLOADS
from services.media_store.model.images import PRESIGNED_MAX_BYTES, TEMP_PREFIX, parse_filename, require_presigned_size
from shared.app.middleware import REQUEST_ID
from shared.app.responses import NO_STORE, json_answer
from shared.auth.access_tokens import principal_of
from shared.clock import utc_now
from shared.errors import BadRequest, KeepsakeError
from shared.http.body import BODY, discard_body
from shared.http.validation import parse_json
from shared.presign.signing import local_bucket
from shared.presign.verify import PostPolicyVerifier, S3Error, VerifiedPost, stored_answer
from shared.uploads import FileField, SpoolSink, read_form

CONTENT_TYPES: Final = ("image/jpeg", "image/png", "image/webp")
FILE = FileField("file", PRESIGNED_MAX_BYTES, missing="Bucket POST must contain a file field.", nameless=True)
# What S3 calls our refusals; its browsers' code knows no others.
S3_CODES: Final = {
    400: (400, "MalformedPOSTRequest"),
    408: (400, "RequestTimeout"),
    413: (400, "EntityTooLarge"),
    415: (400, "InvalidRequest"),
    422: (400, "InvalidArgument"),
    503: (503, "ServiceUnavailable"),
}


async def sign_upload(request: web.Request) -> web.Response:
    uploads, organization_id = request.app[UPLOADS], request.match_info["org_id"]
    await uploads.require_member(organization_id, principal_of(request).user_id)
    wanted = await parse_json(request, schemas.UploadRequest, unfit={"content_type", "filename"})
    if wanted.content_type not in CONTENT_TYPES:
        raise BadRequest.of(
            "content_type", f"The content_type must be one of {', '.join(CONTENT_TYPES)}.", "invalid_content_type"
        )
    filename = parse_filename(wanted.filename)
    if wanted.size is not None:
        require_presigned_size(wanted.size)
    if wanted.method == "PUT" and wanted.size is None:
        raise BadRequest.of("size", "A PUT is signed for an exact size: send it as size, in bytes.", "missing_field")
    put_bytes = wanted.size if wanted.method == "PUT" else None
    signed = await uploads.sign(organization_id, filename, wanted.content_type, put_bytes=put_bytes)
    answer = schemas.PresignedUpload(
        url=signed.url,
        fields=signed.fields,
        s3_key=signed.key,
        public_url=request.app[PUBLIC_ADDRESSES].of(signed.key),
        method="PUT" if signed.method == "PUT" else "POST",
        headers=signed.headers,
        expires_at=signed.expires_at,
    )
    return json_answer(answer, headers=NO_STORE)


async def promote(request: web.Request) -> web.Response:
    uploads, organization_id = request.app[UPLOADS], request.match_info["org_id"]
    await uploads.require_member(organization_id, principal_of(request).user_id)
    wanted = await parse_json(request, schemas.PromoteRequest)
    image = await uploads.promote(organization_id, wanted.s3_key)
    answer = schemas.Promoted(
        url=request.app[PUBLIC_ADDRESSES].of(image.key),
        key=image.key,
        width=image.width,
        height=image.height,
        size=image.size,
        content_type=image.content_type,
        **image.how_made,
    )
    return json_answer(answer, headers=NO_STORE)


async def receive_upload(request: web.Request) -> web.StreamResponse:
    """Take a presigned form as S3 does."""
    try:
        return await _receive(request)
    except S3Error as error:
        return await _refuse(request, error, {hdrs.ALLOW: ""} if error.status == 405 else None)
    except KeepsakeError as error:
        status, code = S3_CODES.get(error.status, (error.status, "InternalError"))
        return await _refuse(request, S3Error(status, code, error.detail), error.headers)


async def _receive(request: web.Request) -> web.Response:
    settings = request.app[SETTINGS]
    if settings.storage_backend == "s3":  # the bucket itself takes forms
        raise S3Error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
    bucket = local_bucket(settings.public_url, settings.internal_secret)
    verified: list[VerifiedPost] = []

    def before_file(fields: Sequence[tuple[str, str]], filename: str) -> int:
        form = PostPolicyVerifier(bucket).verify(fields, filename=filename, now=utc_now())
        if not form.key.startswith(TEMP_PREFIX):  # we sign no other
            raise S3Error(403, "AccessDenied", "Access Denied")
        verified.append(form)
        return PRESIGNED_MAX_BYTES if form.max_bytes is None else form.max_bytes

    spool = request.app[OBJECTS].spool
    async with read_form(request, FILE, open_sink=lambda: SpoolSink(spool), before_file=before_file) as form:
        verified[0].require_size(form.files[0].size)
        etag = await request.app[UPLOADS].receive(verified[0], form.files[0].content)
    answer = stored_answer(verified[0], bucket, etag)
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body or None)


async def _refuse(request: web.Request, error: S3Error, headers: dict[str, str] | None = None) -> web.StreamResponse:
    """Answer in XML; where the file is still coming, read on for a while so that the browser sees the answer."""
    response = web.Response(
        status=error.status,
        body=error.to_xml(request[REQUEST_ID]),
        headers={**NO_STORE, **(headers or {}), hdrs.CONTENT_TYPE: "application/xml"},
    )
    if not request[BODY].complete:
        response.force_close()
        await response.prepare(request)
        await response.write_eof()
        await discard_body(request)
    return response
