"""The header `Idempotency-Key`, apart from the table of keys: who keeps them elsewhere needs no database."""

from __future__ import annotations

import re

from aiohttp import web

from shared.errors import BadRequest, Conflict, NotAllowedValue

HEADER = "Idempotency-Key"
KEY = re.compile(r"[\x21-\x7e]{1,255}")


def key_reused() -> NotAllowedValue:
    return NotAllowedValue.of(
        HEADER, "This Idempotency-Key was used for another request. Please take a new one.", "idempotency_key_reused"
    )


def key_in_use() -> Conflict:
    return Conflict(
        "The first request with this Idempotency-Key is still under way.",
        "idempotency_in_progress",
        {"Retry-After": "1"},
    )


def key_of(request: web.Request) -> str | None:
    """Return the request's key, if it has one. Raises BadRequest for several, NotAllowedValue for a malformed one."""
    given = request.headers.getall(HEADER, [])
    if not given:
        return None
    if len(given) > 1:
        raise BadRequest.of(HEADER, "Send one Idempotency-Key.", "idempotency_key_malformed")
    if not KEY.fullmatch(given[0]):
        raise NotAllowedValue.of(
            HEADER, "Idempotency-Key must be 1 to 255 visible ASCII characters.", "idempotency_key_malformed"
        )
    return given[0]
