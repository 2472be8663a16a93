"""Errors as `application/problem+json` (RFC 9457), with the members `error`, `code` and `request_id` beside the standard's."""

from __future__ import annotations

import json
import secrets
from http import HTTPStatus

from aiohttp import web

from shared.errors import BadRequest, Forbidden, KeepsakeError, MethodNotAllowed, NotFound, TooLarge

CONTENT_TYPE = "application/problem+json"


def problem_body(error: KeepsakeError, request_id: str) -> bytes:
    """Render `error`; `detail` and `error` are the same sentence, so that either kind of client can read it."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        "error": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if error.errors:
        body["errors"] = [{"field": item.field, "message": item.message} for item in error.errors]
    return json.dumps(body, ensure_ascii=False).encode()


def problem_response(error: KeepsakeError, request_id: str) -> web.Response:
    """Build the response of `error`; a refusal is never cached."""
    return web.Response(
        status=error.status,
        body=problem_body(error, request_id),
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", **error.headers},
    )


def problem_message(error: KeepsakeError, origin: str) -> bytes:
    """Write the whole answer, head and body, to what never became a request; `origin` may read it, unless it is empty."""
    request_id = secrets.token_hex(16)
    body = problem_body(error, request_id)
    headers = {
        "Content-Type": CONTENT_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
        "Cache-Control": "no-store",
        "Server": "keepsake",
        "Vary": "Origin",
        "X-Content-Type-Options": "nosniff",
        "X-Request-Id": request_id,
        **error.headers,
    }
    if origin:
        headers["Access-Control-Allow-Origin"] = origin
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n{lines}\r\n".encode() + body


def as_keepsake_error(error: web.HTTPException) -> KeepsakeError:
    """Translate what aiohttp's router and readers raise."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = ", ".join(sorted(error.allowed_methods - {"OPTIONS"}))  # answered for preflights only
        return MethodNotAllowed("This path does not take that method.", headers={"Allow": allow})
    if isinstance(error, web.HTTPNotFound):
        return NotFound("There is nothing at this path.")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return TooLarge("The request body is larger than this path allows.")
    if isinstance(error, web.HTTPForbidden):
        return Forbidden("This origin may not call this path.", "origin_not_allowed")
    if 400 <= error.status < 500:
        return BadRequest("The request cannot be answered as it is.")
    return KeepsakeError()
