"""What a request wants of a representation: whether it has it already, and which part of it (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import re
from datetime import datetime

from aiohttp import hdrs, web

from shared.errors import KeepsakeError

RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.IGNORECASE)


class RangeNotSatisfiable(KeepsakeError):
    """The range asked for begins after the last byte."""

    status = 416
    default_code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        """Say how long the whole is."""
        super().__init__("The range is outside the file.", headers={"Content-Range": f"bytes */{size}"})


class PreconditionFailed(KeepsakeError):
    """The representation is not the one that `If-Match` or `If-Unmodified-Since` asks for."""

    status = 412
    default_code = "precondition_failed"

    def __init__(self) -> None:
        """Use one sentence for both."""
        super().__init__("The file has changed since you last saw it.")


def require_match(request: web.Request, etag: str, last_modified: datetime) -> None:
    """Raise PreconditionFailed unless the client's preconditions hold; `etag` is unquoted, compared strongly (section 13.1.1)."""
    if hdrs.IF_MATCH in request.headers:
        holds = any(wanted.value in {etag, "*"} and not wanted.is_weak for wanted in request.if_match or ())
    else:
        since = request.if_unmodified_since
        holds = since is None or last_modified.replace(microsecond=0) <= since
    if not holds:
        raise PreconditionFailed


def is_not_modified(request: web.Request, etag: str, last_modified: datetime) -> bool:
    """Tell whether the client has the representation; `etag` is unquoted and strong, compared weakly (section 13.1.2)."""
    if hdrs.IF_NONE_MATCH in request.headers:
        return any(known.value in {etag, "*"} for known in request.if_none_match or ())
    since = request.if_modified_since
    return since is not None and last_modified.replace(microsecond=0) <= since


def wanted_range(request: web.Request, size: int, etag: str, last_modified: datetime) -> tuple[int, int] | None:
    """Return the part asked for as (first, last), or None for the whole. Raises RangeNotSatisfiable.

    Several ranges, and what cannot be read as one, count as none (section 14.2); so does a part of other bytes (`If-Range`).
    """
    found = RANGE.fullmatch(request.headers.get(hdrs.RANGE, "").strip())
    if request.method != hdrs.METH_GET or found is None or not _is_same(request, etag, last_modified):
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeNotSatisfiable(size)
    return start, end


def _is_same(request: web.Request, etag: str, last_modified: datetime) -> bool:
    condition = request.headers.get(hdrs.IF_RANGE, "").strip()
    if not condition:
        return True
    if condition.startswith(('"', "W/")):
        return condition == f'"{etag}"'
    return request.if_range == last_modified.replace(microsecond=0)


def _qualities(request: web.Request) -> dict[str, float]:
    """Return how much the client likes each media range it names (RFC 9110 section 12.5.1)."""
    found = {}
    for item in ",".join(request.headers.getall(hdrs.ACCEPT, [])).split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        said = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        found[name] = float(said) if re.fullmatch(r"[01](\.[0-9]{0,3})?", said) else 0.0
    return found


def prefers_webp(request: web.Request) -> bool:
    """Tell whether the client names WebP and likes JPEG no better; `image/*` alone is also said by those who cannot show it."""
    liked = _qualities(request)
    webp = liked.get("image/webp", 0.0)
    return webp > 0 and webp >= liked.get("image/jpeg", 0.0)


def prefers_html(request: web.Request) -> bool:
    """Tell whether the client names HTML and likes JSON less, as browsers do; `*/*` alone is what programs say."""
    liked = _qualities(request)
    json = next((liked[name] for name in ("application/json", "application/*", "*/*") if name in liked), 0.0)
    return liked.get("text/html", 0.0) > json
