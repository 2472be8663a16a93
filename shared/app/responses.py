"""Wire types as JSON answers, and answers that leave in one write."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import starmap
from typing import Final

from aiohttp import hdrs, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11
from aiohttp.typedefs import LooseHeaders
from pydantic import BaseModel

from shared.app.middleware import set_headers
from shared.http.body import BODILESS

JSON_TYPE: Final = "application/json; charset=utf-8"
NO_STORE: Final = {"Cache-Control": "no-store"}
# For answers that carry a capability, such as a session's id: no cache keeps it, no other page is told of it.
PRIVATE: Final = {**NO_STORE, "Referrer-Policy": "no-referrer"}
PRIVATE_JSON: Final = {hdrs.CONTENT_TYPE: JSON_TYPE, **PRIVATE}


def json_answer(body: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Render `body`; its datetimes must be aware and in UTC, so that they end in `Z`."""
    return web.Response(
        status=status,
        body=body.model_dump_json().encode(),
        headers={hdrs.CONTENT_TYPE: JSON_TYPE, **(headers or {})},
    )


class SentAnswer(web.StreamResponse):
    """An answer that was sent without aiohttp, which only asks then whether the connection stays open: it does."""

    stays_open: bool | None = True  # None until it was sent

    @property
    def prepared(self) -> bool:
        return self.stays_open is not None

    @property
    def keep_alive(self) -> bool | None:
        return super().keep_alive if self.stays_open is None else self.stays_open

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing: it was sent."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: it has ended."""


class WholeAnswer(SentAnswer):
    """An answer whose body is here already: its head and its body leave in one write.

    What aiohttp's own response asks itself on the way (cookies, compression, chunks, a charset, each header's meaning) costs
    as much as all the rest of a small request.
    """

    def __init__(self, body: bytes, headers: LooseHeaders, *, status: int = 200) -> None:
        super().__init__(status=status, headers=headers)
        self._answer = body
        self.stays_open = None

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send all of it, the first time; aiohttp calls this once more."""
        if self.stays_open is not None:
            return
        self.stays_open = keeps = request.keep_alive and self.keep_alive is not False
        headers, status = self.headers, self.status
        has_body = status not in BODILESS
        set_headers(request, headers)
        headers[hdrs.DATE] = rfc822_formatted_time()
        if has_body:
            headers.setdefault(hdrs.CONTENT_LENGTH, str(len(self._answer)))
        if not keeps or request.version < HttpVersion11:
            headers[hdrs.CONNECTION] = "keep-alive" if keeps else "close"
        lines = "".join(starmap("{}: {}\r\n".format, headers.items()))
        if lines.count("\r") != len(headers) or lines.count("\n") != len(headers):
            raise ValueError("A header's value has a line break.")
        head = f"HTTP/1.{request.version.minor} {status} {self.reason}\r\n{lines}\r\n"
        body = self._answer if has_body and request.method != hdrs.METH_HEAD else b""
        await request.writer.write(head.encode("utf-8", "surrogateescape") + body)
