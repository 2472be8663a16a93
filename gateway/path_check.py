"""The one reading of a request's target: what could mean two things to two readers is refused, never normalised."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import web

from shared.app.routes import Handler
from shared.errors import BadRequest

# Bytes that a path may not hold: control characters, `\`, `;`, `#`, and what is no UTF-8 (a lone surrogate here).
REFUSED_CHARACTERS = r"[\x00-\x20\x7f-\x9f\\;#\ud800-\udfff]"
# Escapes of a slash, backslash, dot, percent, semicolon or control character, and a percent that begins no escape.
REFUSED_ESCAPES = r"%(?:2[fFeE5]|5[cC]|3[bB]|[01][0-9A-Fa-f]|7[fF]|(?![0-9A-Fa-f]{2}))"
AMBIGUOUS: Final = re.compile(rf"{REFUSED_CHARACTERS}|{REFUSED_ESCAPES}|//|\.\.|/\.(?:/|\Z)")


def is_unambiguous(target: str) -> bool:
    """Tell whether a request's target is a path, with or without a query, that has only one reading."""
    path, _, query = target.partition("?")
    if not path.startswith("/") or AMBIGUOUS.search(path) is not None or "#" in query:
        return False
    if "%" not in target and target.isascii():
        return True
    try:  # the bytes that the escapes stand for must be UTF-8: of others every reader makes something else
        unquote_to_bytes(target.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        return False
    return True


@web.middleware
async def check_path(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse an ambiguous target before anything is decided by it."""
    if not is_unambiguous(request.raw_path):
        raise BadRequest("This path is not allowed.", "path_not_allowed")
    return await handler(request)
