"""Links that need no token: an `<img>` and an `EventSource` cannot send one.

A link is a path with `?expires=<unix seconds>&signature=<hex>`: HMAC-SHA256 over both, with a key of its own (RFC 2104,
RFC 5869). Whoever has it may read what is at that path until then. The time is rounded to the hour, so that within one
everybody gets the same link and browsers can cache what it shows.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web

from shared.auth.key_derivation import derive_key
from shared.errors import Forbidden

HOUR_S = 3600
EXPIRES, SIGNATURE = "expires", "signature"
UNIX_TIME = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)


class LinkInvalid(Forbidden):
    """Not a link that we made."""

    def __init__(self) -> None:
        super().__init__("This link is not valid. Please take it as it was shown, unchanged.", "link_invalid")


class LinkExpired(Forbidden):
    """A link of ours whose time is over."""

    def __init__(self) -> None:
        super().__init__("This link has expired. Please load the page again for a new one.", "link_expired")


class SignedLinks:
    """Makes and checks links; every process with the same secret takes the others'."""

    def __init__(self, internal_secret: str, public_url: str, now: Callable[[], float] = time.time) -> None:
        """Make links below `public_url`, which has no slash at its end."""
        self._key = derive_key(internal_secret, "signed links")
        self._public_url = public_url
        self.now = now

    def expires_at(self) -> int:
        """Return when a link made now ends: in one to two hours, on the hour."""
        return (int(self.now()) // HOUR_S + 2) * HOUR_S

    def url(self, path: str, query: str = "") -> str:
        """Return an absolute link to `path`, written as a browser sends it; `query` (`size=thumb`) is not signed."""
        expires = self.expires_at()
        more = f"{query}&" if query else ""
        return f"{self._public_url}{path}?{more}{EXPIRES}={expires}&{SIGNATURE}={self._signature(path, str(expires))}"

    def require(self, path: str, expires: str, signature: str) -> int:
        """Return the link's end in Unix seconds. Raises LinkInvalid, LinkExpired."""
        if UNIX_TIME.fullmatch(expires) is None:
            raise LinkInvalid
        # As bytes: a text that is not ASCII would be an error, and not a signature that differs.
        if not hmac.compare_digest(self._signature(path, expires).encode(), signature.encode("utf-8", "replace")):
            raise LinkInvalid
        if int(expires) <= self.now():
            raise LinkExpired
        return int(expires)

    def _signature(self, path: str, expires: str) -> str:
        return hmac.digest(self._key, f"{expires}\n{path}".encode("utf-8", "surrogateescape"), "sha256").hex()


SIGNED_LINKS: Final = web.AppKey("SIGNED_LINKS", SignedLinks)
LINK_END: Final = web.RequestKey("LINK_END", int)


def check_link(request: web.Request) -> bool:
    """Tell whether the request comes by a good link, which is enough, whoever's token comes with it.

    Raises LinkInvalid, LinkExpired where there is no token that may be good by itself.
    """
    if not (EXPIRES in request.query or SIGNATURE in request.query):
        return False
    try:
        request[LINK_END] = _required_end(request)
    except (LinkInvalid, LinkExpired):
        if hdrs.AUTHORIZATION in request.headers:
            return False
        raise
    return True


def _required_end(request: web.Request) -> int:
    expires, signature = request.query.getall(EXPIRES, []), request.query.getall(SIGNATURE, [])
    if len(expires) != 1 or len(signature) != 1:
        raise LinkInvalid
    # The path as it was sent: two spellings of one path are two paths here.
    return request.app[SIGNED_LINKS].require(request.rel_url.raw_path, expires[0], signature[0])


def link_end(request: web.Request) -> int | None:
    """Return when the link ends by which the request came, in Unix seconds; None where it came by a token."""
    return request.get(LINK_END)


def cache_control(request: web.Request, otherwise: str) -> str:
    """Let the one browser that has a link keep what it shows for as long as the link is good; else say `otherwise`."""
    end = link_end(request)
    return otherwise if end is None else f"private, max-age={max(0, end - int(request.app[SIGNED_LINKS].now()))}"
