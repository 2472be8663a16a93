"""Answers of every kind: wire types as JSON, and files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from pydantic import BaseModel

NO_STORE: Final = {"Cache-Control": "no-store"}


def json_answer(body: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Render `body`; its datetimes must be aware and in UTC, so that they end in `Z`."""
    return web.Response(
        status=status,
        body=body.model_dump_json().encode(),
        headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})},
    )


class FileAnswer(web.FileResponse):
    """A file, that `shared.app` sends like every other answer.

    aiohttp prepares each answer once more after its handler: its own FileResponse, already sent, fails then, and takes the
    connection with it.
    """

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the file, if that is not done yet."""
        return None if self.prepared else await super().prepare(request)
